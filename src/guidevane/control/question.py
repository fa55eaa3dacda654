"""What a planner is asked, and what it answers: for a person who decides, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from guidevane.control.planner import Plan, plan
from guidevane.control.space import Infeasible
from guidevane.control.trial import EVENTS, Demand, Trial, hourly_usd
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from guidevane.control.queues import Times

_HOUR_S = 3600.0
_P = 0.99
VISITS, SOON_VISITS = 1.5e8, 4e7
"""Of a stage by an event, simulated for one plan: some three seconds of a core, and one for who waits for an answer."""
_FEWEST_RUNS = 50
_TOLD, _MOST_EVENTS = 6.0, 100_000
"""Misses expected in a trace that is planned for, at least; and what no trace is longer than, for all that."""
LEAST_EPSILON = _TOLD / _MOST_EVENTS
"""The smallest share that misses which such a trace can tell from nothing."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """The cheapest configuration of which at most a share ``epsilon`` of the events miss ``slo_s``, for this traffic.

    ``arrivals_s``, where given, is a recording (float64[n], seconds, ascending), and is planned for as it
    is; else gamma arrivals of ``rate_per_s`` and ``scv`` are drawn, one trace to plan on, two to validate.
    """

    graph: Graph
    slo_s: float
    rate_per_s: float = 0.0
    scv: float = 1.0
    epsilon: float = 0.01
    arrivals_s: Times | None = None

    def trial(self) -> Trial:
        """Return what a configuration is tried on."""
        if self.arrivals_s is not None:
            return Trial(self.graph, self.slo_s, self.epsilon, [self.arrivals_s])
        # A share that small needs a longer trace to be told from nothing.
        events = max(EVENTS, min(ceil(_TOLD / self.epsilon), _MOST_EVENTS))
        traces = Demand(self.rate_per_s, self.scv, events=events).traces()
        return Trial(self.graph, self.slo_s, self.epsilon, traces, rate_per_s=self.rate_per_s)

    def times(self, factor: float) -> Question:
        """Return the same question for ``factor`` times the traffic: a recording is played that much faster."""
        arrivals = None if self.arrivals_s is None else self.arrivals_s / factor
        return replace(self, rate_per_s=self.rate_per_s * factor, arrivals_s=arrivals)

    def without(self, members: Sequence[str]) -> Question:
        """Return the same question for a graph that does without some members of a quorum.

        Raises ``Misconfigured`` for a stage that is no member, and where fewer than the quorum would be left.
        """
        return replace(self, graph=without(self.graph, members))


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """One stage of an answer: its setting, and how busy (0-1) its replicas are."""

    name: str
    setting: Setting
    busy: float
    usd_per_hour: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a configuration makes of the traffic, simulated: the share that misses (0-1), the 99th percentile, the cost.

    ``p99_s`` is over all events; those that are never served count as infinite.
    """

    stages: tuple[StageForecast, ...]
    miss: float
    p99_s: float
    usd_per_hour: float
    usd_per_1000: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A plan, and what it promises."""

    plan: Plan
    forecast: Forecast


def answer(question: Question, *, most_runs: int = 3000, most_visits: float = VISITS) -> Answer:
    """Plan. Raises ``Infeasible``, which says what is in the way, where nothing keeps the objective.

    The search takes at most ``most_runs`` simulations, and fewer where traces and graphs are so long that together
    they would be more than ``most_visits`` of a stage by an event; the plan then says its gap.
    """
    trial = question.trial()
    runs = most_visits / (len(trial.arrivals[0]) * len(trial.graph.stages))
    found = plan(trial, most_runs=int(min(max(runs, _FEWEST_RUNS), most_runs)))
    return Answer(plan=found, forecast=_forecast(trial, found.settings))


def forecast(question: Question, settings: Sequence[Setting]) -> Forecast:
    """Return what becomes of a question's traffic in a configuration that was chosen for another."""
    return _forecast(question.trial(), settings)


def _forecast(trial: Trial, settings: Sequence[Setting]) -> Forecast:
    outcome = trial.simulations[-1].run(settings)
    graph, usd = trial.graph, hourly_usd(trial.graph, settings)
    stages = tuple(
        StageForecast(
            name=stage.name,
            setting=setting,
            busy=trial.busy(at, setting),
            usd_per_hour=stage.on(setting.hardware).price_usd_per_hour * setting.replicas,
        )
        for at, (stage, setting) in enumerate(zip(graph.stages, settings, strict=True))
    )
    events_per_hour = trial.rate_per_s * _HOUR_S
    return Forecast(
        stages=stages,
        miss=trial.miss(settings),
        p99_s=outcome.quantile_s(_P),
        usd_per_hour=usd,
        usd_per_1000=1000 * usd / events_per_hour if events_per_hour else 0.0,
    )


def curve(
    question: Question, slos_s: Sequence[float], *, known: Answer | None = None, most_runs: int = 1000
) -> list[tuple[float, Answer | None]]:
    """Return the answer for each objective, ``None`` where nothing keeps it: what a tighter objective costs.

    A plan that keeps an objective keeps each looser one: none of them is told a dearer one, whatever its own search
    found. ``known`` is the answer to the question itself, where it is there already.
    """
    answers: dict[float, Answer | None] = {}
    cheapest = None
    for slo_s in sorted({*slos_s, question.slo_s} if known else set(slos_s)):
        asked = replace(question, slo_s=slo_s)
        found = known if known and slo_s == question.slo_s else _soon(asked, most_runs)
        if cheapest and (found is None or cheapest.plan.usd_per_hour < found.plan.usd_per_hour - 1e-12):
            found = _kept(asked, cheapest.plan, found)
        answers[slo_s] = cheapest = found
    return [(slo_s, answers[slo_s]) for slo_s in slos_s]


def _soon(question: Question, most_runs: int) -> Answer | None:
    try:
        return answer(question, most_runs=most_runs, most_visits=SOON_VISITS)
    except Infeasible:
        return None


def _kept(question: Question, tighter: Plan, own: Answer | None) -> Answer:
    """Return a tighter objective's plan as this one's answer; what its own search knows is the gap."""
    least_usd = own.plan.usd_per_hour * (1 - own.plan.gap) if own else 0.0
    gap = max(1 - least_usd / tighter.usd_per_hour, 0.0) if tighter.usd_per_hour else 0.0
    kept = replace(tighter, proved=gap <= 0.0, gap=gap)
    return Answer(plan=kept, forecast=forecast(question, tighter.settings))


def without(graph: Graph, members: Sequence[str]) -> Graph:
    """Return a graph without members of a quorum. Raises ``Misconfigured`` where it cannot do without them."""
    for name in members:
        graph.stage(name)
        if name not in graph.members:
            could = ", ".join(graph.members) or "none: no stage waits for a quorum"
            raise Misconfigured(f"stage {name!r} cannot be dropped: an event needs it → one of: {could}")
    gone = set(members)
    for join, quorum in graph.quorum.items():
        left = sum(graph.edges[edge].before not in gone for edge in graph.into(join))
        if left < quorum:
            raise Misconfigured(f"{join!r} waits for {quorum} members, and {left} would be left → drop fewer")
    stages = tuple(each for each in graph.stages if each.name not in gone)
    edges = tuple(each for each in graph.edges if each.before not in gone and each.after not in gone)
    return replace(graph, stages=stages, edges=edges)
