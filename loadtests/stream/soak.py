"""The soak: one rate for a long time, the memory of each process written down as it goes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtests.stream import processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loadtests.stream.contender import Running
    from loadtests.stream.phases import Measured, Stage

_EVERY_S = 10.0
_SLICE_S = 60.0
_MIB = 2**20
# A process grows while it warms up; what counts is whether it goes on. The first part of the run is left out.
_WARMING = 0.25


@dataclass(slots=True)
class Memory:
    """Resident memory over time: seconds since the start, MiB by what each process is."""

    at_s: list[float] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)

    def note(self, at_s: float, held: Mapping[str, int]) -> None:
        """Write one moment down; who was not there holds nothing."""
        for name in held.keys() - self.mib.keys():
            self.mib[name] = [0.0] * len(self.at_s)
        self.at_s.append(round(at_s, 1))
        for name, values in self.mib.items():
            values.append(round(held.get(name, 0) / _MIB, 1))


def slope_mib_per_h(at_s: Sequence[float], mib: Sequence[float]) -> float:
    """Return how fast memory grows once warm: the least-squares slope over the last three quarters.

    >>> slope_mib_per_h([0.0, 900.0, 1800.0, 3600.0], [50.0, 100.0, 101.0, 103.0])
    4.0
    """
    warm = [(at, value) for at, value in zip(at_s, mib, strict=True) if at >= _WARMING * at_s[-1]]
    if len(warm) < 2:  # noqa: PLR2004 - one point has no slope
        return 0.0
    return round(float(np.polyfit([at for at, _ in warm], [value for _, value in warm], 1)[0]) * 3600, 2)


async def soak(run: Running, stage: Stage, *, rate_per_s: float, seconds: float) -> dict[str, Any]:
    """Hold a rate, minute after minute, labels too; return memory by process, its slope, and each minute's latency."""
    memory = Memory()
    began_s = time.monotonic()

    async def watch() -> None:
        while True:
            memory.note(time.monotonic() - began_s, processes.rss_bytes(run.state_dir))
            await asyncio.sleep(_EVERY_S)

    watching = asyncio.create_task(watch())
    minutes: list[Measured] = []
    try:
        while (left_s := seconds - (time.monotonic() - began_s)) > 1:
            minutes.append(await stage.hold(run, rate_per_s, min(_SLICE_S, left_s), labels=run.contender.ours))
    finally:
        watching.cancel()
    slopes = {name: slope_mib_per_h(memory.at_s, values) for name, values in sorted(memory.mib.items())}
    return {
        "rate_per_s": rate_per_s,
        "seconds": round(time.monotonic() - began_s, 1),
        "events": sum(each.events for each in minutes),
        "lost": sum(each.lost for each in minutes),
        "duplicated": sum(each.duplicated for each in minutes),
        "latency_ms": [each.latency_ms for each in minutes],
        "slope_mib_per_h": slopes,
        "memory": {"at_s": memory.at_s, "mib": dict(sorted(memory.mib.items()))},
    }
