"""Why no configuration keeps an objective: which stage is in the way, and how much it lacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from guidevane.control.analytic import BUSIEST
from guidevane.control.plant import Setting
from guidevane.control.trial import batch_sizes, ideal, replica_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.trial import Trial

_AMPLE = 6


def floor(trial: Trial) -> str:
    """Say which stage makes the objective impossible with nothing waiting, and by how much; empty where none does."""
    graph, slo_ms = trial.graph, trial.slo_s * 1e3
    floors = [min(hw.profile.latency_s(1) for hw in stage.hardware) for stage in graph.stages]
    floor_ms = graph.path_s(floors) * 1e3
    if floor_ms <= slo_ms:
        return ""
    worst = slowest(trial, floors)
    return (
        f"an SLO of {slo_ms:g} ms is {floor_ms - slo_ms:.1f} ms below the floor of the critical path, "
        f"{floor_ms:.1f} ms; the slowest stage is {graph.names[worst]!r} with {floors[worst] * 1e3:.1f} ms "
        f"→ faster hardware there, or an SLO above {floor_ms:.0f} ms"
    )


def slowest(trial: Trial, latencies_s: Sequence[float]) -> int:
    """Return the stage whose absence would shorten the longest way most: among those beside it none does."""
    graph = trial.graph
    ways = [graph.path_s([0.0 if at == s else t for at, t in enumerate(latencies_s)]) for s in range(len(graph.stages))]
    return min(range(len(ways)), key=lambda at: (round(ways[at], 9), -latencies_s[at]))


def alone(trial: Trial, at: int) -> str:
    """Say what a stage lacks that no number of its replicas keeps the objective with, alone."""
    if below := floor(trial):
        return below
    stage, slo_ms = trial.graph.stages[at], trial.slo_s * 1e3
    coming = trial.rate_per_s * trial.graph.visits[at]
    most = replica_counts(stage)[-1]
    bears = max(hw.profile.throughput(b) for hw in stage.hardware for b in batch_sizes(stage, hw.name)) * most
    if coming > BUSIEST * bears:
        counted = f"{most} replicas" + (", as many as it has partitions," if stage.partitions else "")
        return (
            f"stage {stage.name!r} is to bear {coming:.1f} events/s, and its {counted} bear {BUSIEST * bears:.1f}: "
            f"{coming - BUSIEST * bears:.1f} events/s too many → "
            + ("more partitions, or " if stage.partitions else "")
            + "faster hardware or larger batches there"
        )
    options = [Setting(hw.name, most, b) for hw in stage.hardware for b in batch_sizes(stage, hw.name)]
    missing, miss = min(
        lacks(trial, [each if s == at else ideal(other) for s, other in enumerate(trial.graph.stages)])
        for each in options
    )
    return (
        f"an SLO of {slo_ms:g} ms leaves stage {stage.name!r} no room at {trial.rate_per_s:.0f} events/s: if only this "
        f"stage ever made anyone wait, {late(trial, miss)}, and "
        f"{missing * 1e3:.1f} ms would be missing → faster hardware there, or more than "
        f"{math.ceil(slo_ms + missing * 1e3)} ms"
    )


def together(trial: Trial, kinds: Sequence[Sequence[str]], runs: int) -> str:
    """Say what is missing where each stage alone would do, and all of them together did not."""
    graph, ample = trial.graph, []
    for at, (stage, names, visits) in enumerate(zip(graph.stages, kinds, graph.visits, strict=True)):
        kind = min((stage.on(name) for name in names), key=lambda hw: hw.profile.latency_s(1))
        busy = trial.rate_per_s * visits * kind.profile.mean_s(1)
        most = stage.partitions or math.ceil(_AMPLE * (busy + 1))
        ample += [*trial.batches(at, kind.name, most), Setting(kind.name, most, 1)][:1]
    missing, miss = lacks(trial, ample)
    if missing <= 0:
        return f"no plan was found in {runs} simulations → allow more of them, or a longer objective"
    latencies = [stage.on(each.hardware).profile.latency_s(1) for stage, each in zip(graph.stages, ample, strict=True)]
    worst = slowest(trial, latencies)
    return (
        f"an SLO of {trial.slo_s * 1e3:g} ms is too short for all stages together: even with replicas for everybody, "
        f"{late(trial, miss)}, and {missing * 1e3:.1f} ms would be missing; the slowest stage "
        f"is {graph.names[worst]!r} with {latencies[worst] * 1e3:.1f} ms → faster hardware there, or more than "
        f"{math.ceil((trial.slo_s + missing) * 1e3)} ms"
    )


def lacks(trial: Trial, settings: Sequence[Setting]) -> tuple[float, float]:
    """Return by how many seconds the objective is too short for few enough to be late, and the share that is (0-1).

    Both of the trace that has most of it.
    """
    found = []
    for simulation, limit in zip(trial.simulations, trial.limits, strict=True):
        outcome = simulation.run(settings)
        share = 1 - limit / max(outcome.events, 1)
        found.append((max(outcome.quantile_s(share) - trial.slo_s, 0.0), outcome.miss))
    return max(found)


def late(trial: Trial, miss: float) -> str:
    """Say that a share is more than may be, as far as the traces can tell."""
    may = f"{trial.epsilon:.2%} may"
    if miss <= trial.epsilon:
        least = min(limit / max(len(each), 1) for limit, each in zip(trial.limits, trial.arrivals, strict=True))
        may = f"{least:.2%} may, for {trial.epsilon:.2%} to be sure"
    return f"{miss:.2%} would be late where {may}"
