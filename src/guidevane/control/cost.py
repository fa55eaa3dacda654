"""What it costs: now, per decision, at the month's end; and what another objective would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidevane.control.planner import Infeasible, plan
from guidevane.control.trial import Demand, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.planner import Plan
    from guidevane.control.plant import Observation

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Spend:
    """US dollars per hour, by stage: replicas are paid for from their launch to their end."""

    usd_per_hour: Mapping[str, float]

    @classmethod
    def of(cls, graph: Graph, seen: Observation) -> Spend:
        """Return what is being spent: replicas that serve, start or finish their last batch all count."""
        return cls(
            {
                stage.name: stage.on(each.hardware).price_usd_per_hour
                * (each.ready + len(each.pending) + each.retiring)
                for stage, each in ((stage, seen.stage(stage.name)) for stage in graph.stages)
            }
        )

    @property
    def total_usd_per_hour(self) -> float:
        """Return the sum over all stages."""
        return sum(self.usd_per_hour.values())

    def per_thousand_usd(self, decisions_per_s: float) -> float:
        """Return US dollars per 1,000 decisions; infinite where none are made.

        >>> Spend({"model": 3.6}).per_thousand_usd(10.0)
        0.1
        """
        hourly = decisions_per_s * _HOUR_S
        return self.total_usd_per_hour / hourly * 1000 if hourly > 0 else float("inf")


def month_end_usd(spent_usd: float, hourly_usd: Sequence[float], hours_left: float, p: float) -> float:
    """Return the forecast of a bill: what is spent, and the ``p`` quantile of the hours so far for each to come.

    Hours of one day resemble each other, so their errors do not average out: the quantile is taken of the
    hour, not of the sum, which errs on the dear side for p above one half.

    >>> month_end_usd(100.0, [1.0, 2.0, 3.0], 10.0, 0.5), month_end_usd(100.0, [], 10.0, 0.9)
    (120.0, 100.0)
    """
    if not hourly_usd:
        return spent_usd
    ranked = sorted(hourly_usd)
    place = p * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return spent_usd + hours_left * (ranked[low] + (place - low) * (ranked[high] - ranked[low]))


def pareto(
    graph: Graph, demand: Demand, objectives_s: Sequence[float], epsilon: float, *, most_runs: int = 1500
) -> tuple[tuple[float, Plan | None], ...]:
    """Return the cheapest plan for each objective, ascending; None where nothing keeps it."""
    found: list[tuple[float, Plan | None]] = []
    arrivals = demand.traces()
    for slo_s in sorted(objectives_s):
        try:
            found.append((slo_s, plan(Trial(graph, slo_s, epsilon, arrivals), most_runs=most_runs)))
        except Infeasible:
            found.append((slo_s, None))
    return tuple(found)
