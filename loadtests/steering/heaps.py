"""Events that come in heaps: producers that write a batch each so many seconds, alone or beside a steady stream.

Many producers of Kafka do: who polls a table, who closes a window, who is started by a clock. No rate tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering import pipelines
from loadtests.steering.case import Case

if TYPE_CHECKING:
    from loadtests.steering.plant.columns import Floats

_WITHIN_S = 0.005
"""A heap takes so long to come."""


def heaps(
    size: int, every_s: float, *, seconds: int, seed: int, by_chance: bool = False, beside_per_s: float = 0.0
) -> Floats:
    """Return arrivals in heaps of ``size``, ``every_s`` apart (by chance: on average), and Poisson ones beside them."""
    rng = np.random.default_rng([seed, 78])
    at = np.arange(0.3, seconds, every_s)
    if by_chance:
        at = np.cumsum(rng.exponential(every_s, int(1.5 * seconds / every_s) + 50))
    heaped = np.repeat(at, size) + _WITHIN_S * rng.random(at.size * size)
    beside = seconds * rng.random(rng.poisson(beside_per_s * seconds))
    times = np.sort(np.concatenate([heaped, beside]))
    return np.asarray(times[times < seconds])


@dataclass(frozen=True, slots=True)
class Heaps:
    """One cell: which pipeline, how many at once, how often, what else."""

    pipeline: str
    size: int
    every_s: float
    by_chance: bool = False
    beside_per_s: float = 0.0

    @property
    def name(self) -> str:
        """Say it in one word."""
        chance = "-chance" if self.by_chance else ""
        beside = f"-beside{self.beside_per_s:g}" if self.beside_per_s else ""
        return f"heaps-{self.pipeline}-{self.size}-{self.every_s:g}s{chance}{beside}"

    def case(self, *, seconds: int, seed: int) -> Case:
        """Return it as a case."""
        pipeline = pipelines.named(self.pipeline)
        at = heaps(
            self.size, self.every_s, seconds=seconds, seed=seed, by_chance=self.by_chance,
            beside_per_s=self.beside_per_s,
        )  # fmt: skip
        return Case(pipeline.graph(), at, pipeline.slo_ms / 1e3, seed=seed)


CELLS = tuple(
    Heaps(pipeline, *each)
    for pipeline in ("image", "social", "video")
    for each in (
        (20, 1.0),
        (50, 0.5),
        (100, 1.0),
        (100, 5.0),
        (200, 20.0),
        (100, 2.0, True),
        (60, 5.0, False, 30.0),
        (30, 3.0, True, 20.0),
    )
)
