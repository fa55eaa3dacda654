"""Schedules tried out: a whole run in one compiled call, for planners that simulate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from loadtests.steering.plant import columns, kernel
from loadtests.steering.plant.cluster import billed_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.plant import Setting
    from loadtests.steering.plant.cluster import Scene
    from loadtests.steering.plant.columns import Floats, Ints

DRAIN_S = 60.0
_PREPARED = 8


def constant(scene: Scene, settings: Mapping[str, Setting]) -> tuple[Ints, Ints]:
    """Return the schedule of one row, ``replicas`` and ``batch`` int64[1, S, H], that never changes."""
    replicas = np.zeros((1, len(scene.graph.stages), scene.kinds), dtype=np.int64)
    batch = np.zeros_like(replicas)
    for s, stage in enumerate(scene.graph.stages):
        setting = settings[stage.name]
        h = [hw.name for hw in stage.hardware].index(setting.hardware)
        replicas[0, s, h], batch[0, s, h] = setting.replicas, setting.batch
    return replicas, batch


class Tried(NamedTuple):
    """What a schedule does: how many events miss, its cost in $, and how much ``work`` it was to find that out.

    Work is counted, so that who stops after so much of it stops at the same place on every machine: one for each visit
    of a stage by an event that was simulated, an eighth for each that there could have been, and for each second.
    """

    missed: int
    cost_usd: float
    work: float


def misses(scene: Scene, replicas: Ints, batch: Ints, *, most: int, shed: Floats | None = None) -> Tried:
    """Play a schedule; its misses are exact up to ``most``, its cost is inf past that."""
    state = scene.state()
    if shed is not None:
        state.clock[:, columns.SHED_BELOW] = shed
    seconds = int(scene.length_s)
    ticks = seconds + int(max(DRAIN_S, 20 * scene.deadline_s))
    late = int(kernel.play(state, ticks, replicas, batch, most))
    visits = int(state.stage[:, [columns.FINISHED, columns.DROPPED]].sum())
    work = visits + (scene.arrivals_s.size + ticks) * len(scene.graph.stages) / _PREPARED
    if late > most:
        return Tried(late, np.inf, work)
    return Tried(late, scene.price(billed_s(state, float(seconds))), work)
