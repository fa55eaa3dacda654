"""The cells of the benchmark: which are played quickly, and which in full."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from loadtests.steering import drawn, heaps, pipelines, unseen, workloads
from loadtests.steering.case import Case

if TYPE_CHECKING:
    from loadtests.steering.drawn import Drawn
    from loadtests.steering.heaps import Heaps
    from loadtests.steering.unseen import Unseen

QUICK_WORKLOADS = ("step", "spike", "diurnal")
QUICK_S, QUICK_RATE, RATES, SEEDS = 900, 60.0, (40.0, 120.0, 300.0), (1, 2, 3, 4, 5)
HEAPED_S = 1800
STARTUPS_S = (5.0, 35.0)
"""Start-ups of GPUs besides the 20 s of the graph files, at 120/s."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A pipeline on a workload, or an unseen or drawn case or one of heaps, with a seed."""

    pipeline: str
    workload: str
    rate_per_s: float
    seconds: int
    seed: int
    gpu_startup_s: float | None = None
    of: Unseen | Drawn | Heaps | None = None

    @property
    def name(self) -> str:
        """Say it in one word that sorts."""
        if self.of is not None:
            return f"{self.of.name}-{self.seed}"
        startup = "" if self.gpu_startup_s is None else f"-{self.gpu_startup_s:g}s"
        return f"{self.pipeline}-{self.workload}-{self.rate_per_s:g}{startup}-{self.seed}"

    def case(self) -> Case:
        """Return it as a case."""
        if self.of is not None:
            return self.of.case(seconds=self.seconds, seed=self.seed)
        pipeline = pipelines.named(self.pipeline)
        rate = self.rate_per_s * pipeline.rate
        at = workloads.named(self.workload)(rate_per_s=rate, seconds=self.seconds, seed=self.seed)
        return Case(pipeline.graph(gpu_startup_s=self.gpu_startup_s), at, pipeline.slo_ms / 1e3, seed=self.seed)

    @property
    def rises_s(self) -> tuple[float, ...]:
        """When the rate rises: convergence is measured from there."""
        if self.of is not None:
            return ()
        return tuple(share * self.seconds for share in workloads.named(self.workload).rises_at)


def quick() -> list[Cell]:
    """Return fifteen cells of a quarter of an hour at one rate, and the eight unseen ones."""
    seen = [Cell(p, w, QUICK_RATE, QUICK_S, 1) for p, w in product(pipelines.PIPELINES, QUICK_WORKLOADS)]
    return seen + [Cell("", "", 0.0, QUICK_S, 1, of=each) for each in unseen.CELLS]


def drawn_by_number(*, held_out: bool) -> list[Cell]:
    """Return the drawn cases of one half; each says itself how long it lasts."""
    return [Cell("", "", 0.0, 0, 1, of=each) for each in drawn.cases(held_out=held_out)]


def heaped() -> list[Cell]:
    """Return the cells in which events come in heaps, half an hour each."""
    return [Cell("", "", 0.0, HEAPED_S, 1, of=each) for each in heaps.CELLS]


def full() -> list[Cell]:
    """Return every pipeline on every workload at every rate with every seed, an hour each; start-ups at one rate."""
    everything = product(pipelines.PIPELINES, workloads.WORKLOADS, RATES, SEEDS)
    made = [Cell(p, w, rate, workloads.HOUR_S, seed) for p, w, rate, seed in everything]
    startups = product(pipelines.PIPELINES, workloads.WORKLOADS, SEEDS, STARTUPS_S)
    made += [Cell(p, w, 120.0, workloads.HOUR_S, seed, startup) for p, w, seed, startup in startups]
    return made + [Cell("", "", 0.0, workloads.HOUR_S, seed, of=each) for each, seed in product(unseen.CELLS, SEEDS)]
