"""Schedules tried out: a whole run in one compiled call, for planners that simulate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering.plant import columns, kernel
from loadtests.steering.plant.cluster import billed_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.plant import Setting
    from loadtests.steering.plant.cluster import Scene
    from loadtests.steering.plant.columns import Floats, Ints

DRAIN_S = 60.0


def constant(scene: Scene, settings: Mapping[str, Setting]) -> tuple[Ints, Ints]:
    """Return the schedule of one row, ``replicas`` and ``batch`` int64[1, S, H], that never changes."""
    replicas = np.zeros((1, len(scene.graph.stages), scene.kinds), dtype=np.int64)
    batch = np.zeros_like(replicas)
    for s, stage in enumerate(scene.graph.stages):
        setting = settings[stage.name]
        h = [hw.name for hw in stage.hardware].index(setting.hardware)
        replicas[0, s, h], batch[0, s, h] = setting.replicas, setting.batch
    return replicas, batch


def misses(scene: Scene, replicas: Ints, batch: Ints, *, most: int, shed: Floats | None = None) -> tuple[int, float]:
    """Play a schedule; return how many events miss, exact up to ``most``, and its cost in $ (inf past that)."""
    state = scene.state()
    if shed is not None:
        state.clock[:, columns.SHED_BELOW] = shed
    seconds = int(scene.length_s)
    ticks = seconds + int(max(DRAIN_S, 20 * scene.deadline_s))
    late = int(kernel.play(state, ticks, replicas, batch, most))
    if late > most:
        return late, np.inf
    return late, scene.price(billed_s(state, float(seconds)))
