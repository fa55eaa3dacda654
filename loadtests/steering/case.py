"""One case to be played: a pipeline, its arrivals, what is promised; and what a policy may know beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Misconfigured
from loadtests.steering.plant.cluster import Scene

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from loadtests.steering.plant.columns import Floats

OPENING_S = 60.0
"""A recording has no before: the rate of its first minute stands for the rate that an operator deploys for."""

MOST_EDGES = 255
"""Into one stage: the plant counts them in a byte."""

SAMPLE_S, SAMPLE_SHARE = 480.0, 1 / 7.5
"""The sample trace that InferLine plans with, as in its paper: 480 s of an hour. Nobody else online is given one."""


@dataclass(frozen=True)
class Case:
    """A graph, float64[n] arrival seconds, the objective (``slo_s``, share ``epsilon`` that may miss), a seed.

    Raises:
        Misconfigured: an objective that is none.
    """

    graph: Graph
    arrivals_s: Floats
    slo_s: float
    epsilon: float = 0.01
    seed: int = 1

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slo_s) and self.slo_s > 0):
            raise Misconfigured(f"an SLO of {1e3 * self.slo_s:g} ms → write milliseconds above 0")
        if not 0 <= self.epsilon < 1:
            raise Misconfigured(f"epsilon is {self.epsilon:g} → write the share that may miss, from 0 to below 1")
        for name in self.graph.names:
            if (edges := len(self.graph.into(name))) > MOST_EDGES:
                raise Misconfigured(f"{edges} edges lead into stage {name!r} → at most {MOST_EDGES} are played")

    @cached_property
    def scene(self) -> Scene:
        """What all policies are played on: the same ways through the graph, the same jitter."""
        return Scene.of(self.graph, self.arrivals_s, deadline_s=self.slo_s, seed=self.seed)

    @property
    def length_s(self) -> float:
        """How long replicas are paid for."""
        return self.scene.length_s

    @property
    def expected_per_s(self) -> float:
        """The rate that every policy may start from: that of the first minute."""
        span = min(OPENING_S, self.length_s)
        return float(np.searchsorted(self.arrivals_s, span)) / span

    @cached_property
    def sample_s(self) -> Floats:
        """The first arrivals, as a sample trace."""
        span = min(SAMPLE_S, max(SAMPLE_SHARE * self.length_s, OPENING_S))
        return self.arrivals_s[: max(int(np.searchsorted(self.arrivals_s, span)), 1)]

    @property
    def allowed(self) -> int:
        """How many events may miss."""
        return int(np.floor(self.epsilon * self.arrivals_s.size + 1e-9))

    def floor_missing(self) -> str:
        """Say which stage makes the objective impossible, and by how much; empty where it can be kept."""
        short_s = self.graph.floor_s - self.slo_s
        if short_s <= 0:
            return ""
        least = [min(hw.profile.latency_s(1) for hw in each.hardware) for each in self.graph.stages]
        way = self.graph.path_s(least)
        # The stage whose absence shortens the longest way most is the one to replace.
        gains = [
            way - self.graph.path_s([0.0 if at == s else t for at, t in enumerate(least)]) for s in range(len(least))
        ]
        worst = int(np.argmax(gains))
        return (
            f"an SLO of {1e3 * self.slo_s:g} ms is below the floor of the critical path, {1e3 * way:.1f} ms with "
            f"nothing waiting: {1e3 * short_s:.1f} ms are missing, and stage {self.graph.names[worst]!r} alone takes "
            f"{1e3 * least[worst]:.1f} ms → allow {1e3 * way:.0f} ms or more, or give {self.graph.names[worst]!r} "
            "faster hardware"
        )
