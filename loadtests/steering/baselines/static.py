"""Static provisioning: one plan for the whole run, made for its mean rate or for its busiest minute.

Both know the future: ``mean`` the mean rate of the whole run, ``peak`` the arrivals of the busiest minute themselves.
Plans are the cheapest that hold the objective by simulation: InferLine's greedy answer, or that of the controller's own
exact planner (``guidevane.control.planner``; where there is a choice of hardware, greedy alone may end at twice the
cost), whichever is cheaper, then searched around until no replica can be given up for other batches (``polished``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.planner import plan as planned
from guidevane.control.plant import Action, Setting
from guidevane.control.space import Infeasible
from guidevane.control.trial import Trial
from loadtests.steering.baselines.inferline import Plan, Planner, usd_per_hour
from loadtests.steering.plant.cluster import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guidevane.control.plant import Observation
    from loadtests.steering.case import Case

MINUTE_S = 60.0
_GREEDY_WORK = 15e6
"""Of greedy, some seconds: it takes longer only where many stages have a choice of hardware, and is dearest there."""
_EXACT_WORK, _FEWEST, _MOST = 3e8, 50, 1000
"""Of the exact planner: a thousand simulations, or where they are long, some seconds of them."""


@dataclass(frozen=True)
class Static:
    """The same settings for ever."""

    settings: Mapping[str, Setting]

    def __call__(self, seen: Observation, memory: None) -> tuple[Action, None]:
        """Hold."""
        return Action(self.settings, "static", held=seen.time_s > 0), memory


def busiest(case: Case, span_s: float = MINUTE_S) -> Scene:
    """Return the stretch of ``span_s`` with the most arrivals, as a scene that begins at 0."""
    at = case.arrivals_s
    inside = np.searchsorted(at, at + span_s) - np.arange(at.size)
    first = int(inside.argmax())
    stretch = at[first : first + int(inside[first])]
    return Scene.of(case.graph, stretch - stretch[0], deadline_s=case.slo_s, seed=case.seed)


def steady(case: Case, rate_per_s: float, *, span_s: float = 180.0) -> Scene:
    """Return Poisson arrivals at a rate: what is planned for where only a rate is known."""
    rng = np.random.default_rng([case.seed, 3])
    at = np.cumsum(rng.exponential(1 / max(rate_per_s, 1e-6), max(int(rate_per_s * span_s), 1)))
    return Scene.of(case.graph, at, deadline_s=case.slo_s, seed=case.seed)


def plan(scene: Scene, epsilon: float) -> Plan:
    """Return the cheapest plan found for a scene; where none is feasible, greedy's: it bears the rate."""
    planner = Planner(scene, epsilon)
    greedy = Planner(scene, epsilon, work=_GREEDY_WORK).plan()
    feasible = [each for each in (greedy, exact(scene, epsilon)) if each and planner.feasible(each)]
    if not feasible:
        return greedy
    return polished(planner, min(feasible, key=lambda each: usd_per_hour(planner.graph, each)))


def exact(scene: Scene, epsilon: float, *, shed: bool = False) -> Plan | None:
    """Return what the controller's planner makes of a scene's arrivals; None where it finds nothing.

    It simulates by itself, with chances of its own and a margin for them: what it finds is to be tried. ``shed``: for
    who drops events that would be late.
    """
    tried = Trial(scene.graph, scene.deadline_s, epsilon, [scene.arrivals_s], drop=shed)
    runs = _EXACT_WORK / (scene.arrivals_s.size * len(scene.graph.stages))
    try:
        found = planned(tried, most_runs=int(min(max(runs, _FEWEST), _MOST)))
    except Infeasible:
        return None
    return dict(zip(scene.graph.names, found.settings, strict=True))


def polished(planner: Planner, start: Plan, *, tries: int = 400) -> Plan:
    """Search around a feasible plan: one stage gives up a replica, it and another may change their batch for it."""
    best, found = start, True
    while found and planner.simulations < tries and planner.left > 0:
        found = False
        now = usd_per_hour(planner.graph, best)
        for option in _around(planner, best):
            if usd_per_hour(planner.graph, option) < now - 1e-12 and planner.feasible(option):
                best, found = option, True
                break
            if planner.simulations >= tries or planner.left <= 0:
                break
    return best


def _around(planner: Planner, plan: Plan) -> Iterator[Plan]:
    names = list(plan)
    for name in names:
        if plan[name].replicas == 1:
            continue
        fewer = {**plan, name: replace(plan[name], replicas=plan[name].replicas - 1)}
        yield from (_with_batches(fewer, {name: each}) for each in _batches(planner, plan, name))
        for other in names:
            pairs = product(_batches(planner, plan, name), _batches(planner, plan, other)) if other != name else ()
            yield from (_with_batches(fewer, {name: one, other: two}) for one, two in pairs)


def _batches(planner: Planner, plan: Plan, name: str) -> list[int]:
    """Return batch sizes worth a try: what is, half, one less and more, half as much again, double."""
    now, most = plan[name].batch, planner.graph.stage(name).on(plan[name].hardware).profile.most
    return sorted({min(max(each, 1), most) for each in (now, now // 2, now - 1, now + 1, now * 3 // 2, 2 * now)})


def _with_batches(plan: Plan, batches: Mapping[str, int]) -> Plan:
    return {name: replace(each, batch=batches.get(name, each.batch)) for name, each in plan.items()}
