"""The policies by name. A name may stand for a small grid of settings: the best of them is what counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from guidevane.control.steer import Steering
from guidevane.errors import Misconfigured
from guidevane.word import nearest
from loadtests.steering.baselines import coarse, static
from loadtests.steering.baselines.hpa import HPA
from loadtests.steering.baselines.inferline import InferLine, Plan, bearing
from loadtests.steering.baselines.keda import KEDA
from loadtests.steering.baselines.mark import MArk
from loadtests.steering.baselines.oracle import Oracle, Search
from loadtests.steering.baselines.ray import Ray
from loadtests.steering.plant.cluster import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.control.plant import Policy
    from loadtests.steering.case import Case


@dataclass(frozen=True)
class Prepared:
    """A case, and the plans that several policies start from, each made once; ``told`` hears how far a search is."""

    case: Case
    told: Callable[[float], None] | None = None

    @property
    def mean_per_s(self) -> float:
        """The mean rate of the whole run: for those who know it."""
        return self.case.arrivals_s.size / self.case.length_s

    @cached_property
    def opening(self) -> Plan:
        """What an operator deploys for the expected rate: where the reactive baselines start, and their batches."""
        return self.plan(static.steady(self.case, self.case.expected_per_s))

    @cached_property
    def peak(self) -> Plan:
        """The plan for the busiest minute."""
        return self.plan(static.busiest(self.case))

    @cached_property
    def mean(self) -> Plan:
        """The plan for the mean rate."""
        return self.plan(static.steady(self.case, self.mean_per_s))

    @cached_property
    def sample(self) -> Scene:
        """The sample trace that InferLine plans with."""
        return Scene.of(self.case.graph, self.case.sample_s, deadline_s=self.case.slo_s, seed=self.case.seed + 1)

    @cached_property
    def oracle(self) -> Oracle | None:
        """The clairvoyant schedule; None where none keeps the objective."""
        if self.case.floor_missing():
            return None
        found = Search(self.case, self.starts, told=self.told).run()
        return None if found is None else Oracle(self.case, found)

    @property
    def starts(self) -> tuple[Plan, ...]:
        """Hardware and batches that the oracle begins with: static plans, and those of who may shed, each once."""
        scenes = (static.busiest(self.case), static.steady(self.case, self.mean_per_s))
        shedding = (static.exact(scene, self.case.epsilon, shed=True) for scene in scenes)
        plans = [self.peak, self.mean, *(each for each in shedding if each)]
        kinds = {tuple((each.hardware, each.batch) for each in plan.values()): plan for plan in reversed(plans)}
        return tuple(reversed(kinds.values()))

    def plan(self, scene: Scene) -> Plan:
        """Return the cheapest plan found; where the objective is below the floor, one that bears the rate."""
        if self.case.floor_missing():
            return bearing(self.case.graph, scene.arrivals_s.size / scene.length_s)
        return static.plan(scene, self.case.epsilon)


def _ray(case: Prepared, **settings: float) -> Ray:
    most = {stage.name: stage.on(case.opening[stage.name].hardware).profile.most for stage in case.case.graph.stages}
    return replace(Ray(case.opening, most_batch=most), **settings)  # type: ignore[arg-type]


def _oracle(case: Prepared) -> list[Policy]:
    # Where nothing keeps the objective, who knows the future does what the busiest minute asks for.
    return [case.oracle or static.Static(case.peak)]


POLICIES: Mapping[str, Callable[[Prepared], Sequence[Policy]]] = {
    "guidevane": lambda c: [Steering(c.case.graph, c.case.slo_s, c.case.epsilon)],
    "inferline": lambda c: [InferLine.of(c.sample, c.case.epsilon)],
    "inferline_least": lambda c: [InferLine.of(c.sample, c.case.epsilon, rho="least")],
    "ray": lambda c: [_ray(c)],
    "ray_tuned": lambda c: [
        _ray(c, target_ongoing=target, up_delay_s=up, down_delay_s=down)
        for target, (up, down) in product((1.0, 2.0, 4.0), ((10.0, 120.0), (30.0, 300.0), (30.0, 600.0)))
    ],
    "hpa": lambda c: [HPA(c.opening, 0.7)],
    "hpa50": lambda c: [HPA(c.opening, 0.5)],
    "hpa_tuned": lambda c: [HPA(c.opening, target) for target in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)],
    "keda": lambda c: [KEDA(c.opening)],
    "keda_tuned": lambda c: [KEDA(c.opening, lag) for lag in (1.0, 2.0, 4.0, 10.0, 20.0)],
    "mark": lambda c: [MArk(c.case.graph, c.opening)],
    "mark_tuned": lambda c: [MArk(c.case.graph, c.opening, busy) for busy in (0.5, 0.65, 0.8)],
    "static_mean": lambda c: [static.Static(c.mean)],
    "static_peak": lambda c: [static.Static(c.peak)],
    "coarse_mean": lambda c: [static.Static(coarse.coarse(c.case.graph, c.case.slo_s, c.mean_per_s))],
    "coarse_peak": lambda c: [
        static.Static(coarse.coarse(c.case.graph, c.case.slo_s, coarse.peak_rate(c.case.arrivals_s, c.case.slo_s)))
    ],
    "oracle": _oracle,
}


def check(names: Sequence[str]) -> None:
    """Refuse names that are not known.

    Raises:
        Misconfigured: the message lists those that are.
    """
    if not names:
        raise Misconfigured(f"no policy at all → some of: {', '.join(POLICIES)}")
    for name in names:
        if name not in POLICIES:
            raise Misconfigured(
                f"there is no policy {name!r} → {nearest(name, list(POLICIES))}; known are {', '.join(POLICIES)}"
            )
