"""What the simulator makes of the same arrivals: beside each trial, with the way that was measured before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.control.plant import Setting
from guidevane.control.question import Question, answer
from guidevane.control.question import forecast as told
from guidevane.control.reading import read_graph
from guidevane.control.site import Movable, Site, as_deployed
from loadtests.live.emulated import CPUS, LATENCY_S, MOST, SLO_MS, STARTUP_S, graph, pipeline
from loadtests.live.guided import Guided
from loadtests.steering.baselines.ray import Ray
from loadtests.steering.baselines.static import Static
from loadtests.steering.case import Case
from loadtests.steering.playing import play
from loadtests.steering.scores import percentile_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPSILON = 0.01
PEAK_S = 10.0
_SLOWEST = max(LATENCY_S, key=lambda member: LATENCY_S[member][1])


def planned(rate_per_s: float) -> tuple[dict[str, int], int]:
    """Return the cheapest replicas for a rate, and the batch with which they have the lowest p99."""
    found = read_graph(graph())
    question = Question(graph=found, slo_s=SLO_MS / 1e3, rate_per_s=rate_per_s, epsilon=EPSILON)
    plan = answer(question).plan

    def p99_s(batch: int) -> float:
        tried = [
            replace(each, batch=min(batch, stage.hardware[0].profile.most))
            for stage, each in zip(found.stages, plan.settings, strict=True)
        ]
        return told(question, tried).p99_s

    sizes = (each for each, _ in found.stage(_SLOWEST).hardware[0].profile.points)
    replicas = dict(zip(found.names, (each.replicas for each in plan.settings), strict=True))
    return {name: replicas[name] for name in LATENCY_S}, min(sizes, key=p99_s)


def rate(times: NDArray[np.float64], since_s: float = 0.0) -> float:
    """Return the rate of ten seconds."""
    return max(float(((times >= since_s) & (times < since_s + PEAK_S)).sum()) / PEAK_S, 1.0)


def peak(times: NDArray[np.float64]) -> float:
    """Return the rate of the busiest ten seconds."""
    return max(rate(times, float(since)) for since in np.arange(0.0, max(float(times[-1]) - PEAK_S, 1.0), 1.0))


def opening(contender: str, times: NDArray[np.float64]) -> tuple[dict[str, int], int]:
    """Return the replicas and the batch that a contender begins with: only ``static_peak`` knows what will come."""
    return planned(peak(times) if contender == "static_peak" else rate(times))


def site(most: int = MOST) -> Site:
    """Return what the controller room of a trial may move, with the profile that it is given."""
    return Site(
        members=tuple(Movable(name=name, cpus=CPUS) for name in LATENCY_S),
        slo_s=SLO_MS / 1e3, epsilon=EPSILON, quorum=pipeline.ensemble.quorum, most=most, startup_s=STARTUP_S,
        bridge_share=pipeline.degrade.bridge_share,
        measured=as_deployed(read_graph(graph()), LATENCY_S),
    )  # fmt: skip


def forecast(contender: str, times: NDArray[np.float64], way_ms: float) -> dict[str, Any]:
    """Return the simulator's figures, beginning with what the trial began with.

    ``miss``: late or shed, which is what the room answers without a member.
    """
    replicas, batch = opening(contender, times)
    case = Case(read_graph(graph(way_ms)), times, SLO_MS / 1e3, EPSILON)
    start = {
        each.name: Setting(
            each.hardware[0].name, replicas.get(each.name, 1), min(batch, each.hardware[0].profile.most)
        )
        for each in case.graph.stages
    }  # fmt: skip
    if contender == "guidevane":
        policy: Any = Guided(site(), case.graph, dict(replicas), batch)
    elif contender == "ray":
        policy = replace(Ray(start), max_replicas=MOST)
    else:
        policy = Static(start)
    run = play(policy, case)
    # The simulator knows no answer without a member. The room gives one as soon as it knows that there is no time for
    # the member, or at the deadline; the quick ones have answered by then.
    answered_s = np.minimum(np.minimum(run.latency_s, run.shed_s + case.graph.hop_s), case.slo_s)
    # The plant's stage around the members is no replica of anybody's.
    around = sum(run.replicas[:, at].sum() for at, name in enumerate(case.graph.names) if name not in LATENCY_S)
    seconds = run.replicas.shape[0]
    return {
        "miss": round(run.misses(case.slo_s) / times.size, 6),
        "p50_ms": percentile_ms(answered_s, 50), "p99_ms": percentile_ms(answered_s, 99),
        "replica_seconds": round(float(run.replica_seconds - around * case.length_s / max(seconds, 1)), 1),
    }  # fmt: skip
