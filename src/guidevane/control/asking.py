"""What would become of a live pipeline if something changed: from its own latencies and its own last arrivals."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.control.arrivals import SPREAD
from guidevane.control.question import Forecast, Question, answer, forecast
from guidevane.control.space import Infeasible
from guidevane.control.waiting import FetchWaits
from guidevane.errors import Misconfigured
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting

_MOST_EVENTS = 12_000
_LEAST_EVENTS = 200
_MOST_RUNS = 250
"""Simulations a plan may take: an answer is wanted within a second or two, and says by how much it may be dear."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)")


@dataclass(frozen=True, kw_only=True)
class Live:
    """A pipeline as its controller knows it now.

    ``settings`` are in force, in the order of the graph's stages; ``halves`` the events of each half second, the
    newest last. ``together``: who computes in the replicas of each station, with the line of each (fixed and
    per-row seconds). ``cpus`` is what all replicas may take. ``wait_s``: how long the first room's fetches wait for
    company now. ``usual_p99_s``: the 99th percentile of events' ages that was measured lately.
    """

    graph: Graph
    slo_s: float
    epsilon: float
    settings: tuple[Setting, ...]
    rate_per_s: float
    dispersion: float
    halves: tuple[int, ...]
    quorum: int = 1
    together: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    cpus: float | None = None
    cpus_of: Mapping[str, float] = field(default_factory=dict)
    wait_s: float = 0.0
    usual_p99_s: float | None = None

    def question(self) -> Question:
        """Return the question that the live pipeline is an answer to."""
        arrivals = _arrivals(self.halves)
        # Of events that come in heaps the half seconds do not tell how closely.
        told = len(arrivals) >= _LEAST_EVENTS and self.dispersion <= SPREAD
        recorded = arrivals if told else None
        return Question(
            graph=self.graph, slo_s=self.slo_s, rate_per_s=max(self.rate_per_s, 1.0), scv=max(self.dispersion, 0.1),
            epsilon=self.epsilon, arrivals_s=recorded,
        )  # fmt: skip

    def without(self, names: Sequence[str]) -> Live:
        """Return the same without some members. Raises ``Misconfigured`` for others, and below the quorum."""
        members = [name for lines in self.together.values() for name in lines]
        for name in names:
            if name not in members:
                told = nearest(name, members)
                raise Misconfigured(f"there is no member {name!r} → {told}; the members are {', '.join(members)}")
        left = [name for name in members if name not in names]
        if len(left) < self.quorum:
            raise Misconfigured(f"the quorum is {self.quorum}, and {len(left)} members would be left → drop fewer")
        gone = {host for host, lines in self.together.items() if set(lines) <= set(names)}
        stages = []
        for stage in self.graph.stages:
            lines = self.together.get(stage.name, {})
            if stage.name in gone:
                continue
            if set(lines) & set(names):
                kept = [line for name, line in lines.items() if name not in names]
                factor = _at(kept) / _at(list(lines.values()))
                hardware = tuple(replace(each, profile=each.profile.scaled(factor)) for each in stage.hardware)
                stages.append(replace(stage, hardware=hardware))
            else:
                stages.append(stage)
        edges = tuple(each for each in self.graph.edges if not {each.before, each.after} & gone)
        settings = tuple(
            each for stage, each in zip(self.graph.stages, self.settings, strict=True) if stage.name not in gone
        )
        return replace(self, graph=replace(self.graph, stages=tuple(stages), edges=edges), settings=settings)

    def unexplained_s(self) -> float:
        """Return by how much the measured 99th percentile is above the simulated one of what runs.

        A machine's own pauses (its scheduler, collections of garbage, the broker's) are in no line and no arrival. More
        than as much again as is simulated is no such thing, but a start or an overload that is not forgotten yet.
        """
        if self.usual_p99_s is None:
            return 0.0
        simulated_s = forecast(_later(self.question(), self.wait_s), self.settings).p99_s
        return min(max(self.usual_p99_s - simulated_s, 0.0), simulated_s) if simulated_s < float("inf") else 0.0

    def cores(self, settings: Mapping[str, Setting]) -> float:
        """Return how many cores the replicas of ``settings`` take."""
        return sum(self.cpus_of.get(name, 0.0) * each.replicas for name, each in settings.items())


def whatif(live: Live, *, slo: str | None = None, rate: str | None = None, drop: Sequence[str] = ()) -> dict[str, Any]:
    """Return what would become of the pipeline as it is, and what the cheapest plan would be then, as plain values.

    ``slo`` is a duration (``80ms``), ``rate`` a number of events per second or a factor (``x2``), ``drop`` names
    members.
    Raises ``Misconfigured`` where one of them says nothing.
    """
    unexplained_s = live.unexplained_s()
    then = live.without(drop)
    question = then.question()
    before = question.trial().rate_per_s
    if slo is not None:
        question = replace(question, slo_s=seconds(slo))
    if rate is not None:
        question = question.times(factor_of(rate, before))
    kept = forecast(_later(question, then.wait_s + unexplained_s), then.settings)
    # The controller waits no longer than the objective allows, and never shorter than this.
    wait_s = min(then.wait_s, FetchWaits(question.slo_s).wait_s(0.0))
    try:
        found = answer(_later(question, wait_s + unexplained_s), most_runs=_MOST_RUNS)
        known = {"proved": found.plan.proved, "gap": found.plan.gap, "simulations": found.plan.simulations}
        planned: dict[str, Any] = {**figures(found.forecast), **known, "fetch_wait_ms": wait_s * 1e3}
        cpus = then.cores({each.name: each.setting for each in found.forecast.stages})
        # What runs is there, also where it is more than may be added to.
        runs = live.cores(dict(zip(live.graph.names, live.settings, strict=True)))
        if live.cpus is not None and cpus > max(live.cpus, runs) + 1e-9:
            planned["beyond"] = f"its replicas take {cpus:g} cores, and {live.cpus:g} are allowed"
    except Infeasible as impossible:
        planned = {"infeasible": str(impossible)}
    return {
        "asked": {
            "slo_ms": question.slo_s * 1e3, "rate_per_s": round(question.trial().rate_per_s, 3), "drop": list(drop),
            "epsilon": question.epsilon, "rate_now_per_s": round(before, 3),
            "arrivals": "recorded" if question.arrivals_s is not None else "drawn",
            "p99_now_ms": None if live.usual_p99_s is None else round(live.usual_p99_s * 1e3, 3),
            "unexplained_ms": round(unexplained_s * 1e3, 3),
        },
        "as_it_is": {**figures(kept), "fetch_wait_ms": then.wait_s * 1e3},
        "then": planned,
    }  # fmt: skip


def figures(found: Forecast) -> dict[str, Any]:
    """Return a forecast as plain values. JSON has no infinity: a p99 of ``None`` says that some are never served."""
    return {
        "settings": {
            each.name: {
                "hardware": each.setting.hardware, "replicas": each.setting.replicas, "batch": each.setting.batch,
                "busy": round(each.busy, 4), "usd_per_hour": round(each.usd_per_hour, 6),
            }
            for each in found.stages
        },
        "miss": found.miss,
        "p99_ms": round(found.p99_s * 1e3, 3) if found.p99_s < float("inf") else None,
        "usd_per_hour": round(found.usd_per_hour, 6),
        "usd_per_1000": round(found.usd_per_1000, 6),
    }  # fmt: skip


def seconds(text: str) -> float:
    """Return a duration. Raises ``Misconfigured``.

    >>> seconds("80ms"), seconds("0.3 s")
    (0.08, 0.3)
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise Misconfigured(f"{text!r} is no duration → write 300ms, or 0.3s")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def factor_of(text: str, rate_per_s: float) -> float:
    """Return by how much a rate differs from ``rate_per_s``. Raises ``Misconfigured``.

    >>> factor_of("x2", 50.0), factor_of("100", 50.0)
    (2.0, 2.0)
    """
    try:
        factor = float(text[1:]) if text.startswith("x") else float(text) / rate_per_s
    except (ValueError, ZeroDivisionError):
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise Misconfigured(f"{text!r} is no rate → write 240 (events per second), or x2")
    return factor


def _arrivals(halves: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return arrival times in seconds from 0: those of each half second anywhere in it, the same each time."""
    counts = np.asarray(halves, dtype=np.int64)
    # The newest that are not too many; what lies before the first event is no part of the recording.
    newest = np.cumsum(counts[::-1]) <= _MOST_EVENTS
    counts = counts[len(counts) - int(newest.sum()) :]
    slots = np.repeat(np.arange(len(counts)), counts)
    times: npt.NDArray[np.float64] = np.sort(slots + np.random.default_rng(1).random(len(slots))) / 2
    return times - times[0] if len(times) else times


def _later(question: Question, by_s: float) -> Question:
    """Return a question whose events take so much longer, spread over the hops: what is true of the 99th percentile."""
    graph = question.graph
    hops = round(replace(graph, hop_s=1.0).path_s([0.0] * len(graph.stages)))
    return replace(question, graph=replace(graph, hop_s=graph.hop_s + by_s / hops)) if hops else question


def _at(lines: Sequence[tuple[float, float]], batch: int = 16) -> float:
    return sum(fixed + per_row * batch for fixed, per_row in lines)
