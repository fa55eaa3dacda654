"""InferLine's greedy planner (Crankshaw et al., SoCC 2020, algorithm 1): a bound for the exact search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from guidevane.control.plant import Setting
from guidevane.control.trial import hourly_usd, ideal, replica_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guidevane.control.trial import Trial


def greedy(trial: Trial, hardware: Sequence[str | None] | None = None) -> tuple[Setting, ...] | None:
    """Return InferLine's plan, or None where it finds none.

    It starts with the fastest hardware, batches of one and one replica each, adds replicas where it is
    busiest until the objective is kept, then applies, as long as one helps, the cheapest of: a
    doubled batch (with the replicas it saves), a replica less, other hardware.
    """
    graph = trial.graph
    allowed = [
        [hw.name for hw in stage.hardware if not only or hw.name == only]
        for stage, only in zip(graph.stages, hardware or [None] * len(graph.stages), strict=True)
    ]
    fastest = [
        min((stage.on(name).profile.latency_s(1), name) for name in names)[1]
        for stage, names in zip(graph.stages, allowed, strict=True)
    ]
    chosen = _grown(
        trial, [Setting(name, replica_counts(stage)[0], 1) for stage, name in zip(graph.stages, fastest, strict=True)]
    )
    while chosen is not None:
        cost = hourly_usd(graph, chosen)
        steps = ((hourly_usd(graph, each), number, each) for number, each in enumerate(_steps(trial, chosen, allowed)))
        # The cheapest first: the first that is feasible is the one, and no other need be simulated.
        cheaper = (each for usd, _, each in sorted(step for step in steps if step[0] < cost) if trial.feasible(each))
        better = next(cheaper, None)
        if better is None:
            return chosen
        chosen = better
    return None


def _grown(trial: Trial, settings: Sequence[Setting]) -> tuple[Setting, ...] | None:
    """Return a configuration with replicas added where it is busiest, until it is feasible."""
    chosen = list(settings)
    if not trial.might([ideal(stage, each.hardware) for stage, each in zip(trial.graph.stages, chosen, strict=True)]):
        return None
    for _ in range(10_000):
        busy = [(trial.busy(at, each), at) for at, each in enumerate(chosen)]
        # Far from enough is told without a simulation.
        if max(busy)[0] <= 1 and trial.feasible(chosen):
            return tuple(chosen)
        for _, at in sorted(busy, reverse=True):
            sizes = replica_counts(trial.graph.stages[at])
            more = [count for count in sizes[sizes.index(chosen[at].replicas) :][:2] if count > chosen[at].replicas]
            if more:
                chosen[at] = replace(chosen[at], replicas=more[0])
                break
        else:
            return None
    return None


def _steps(trial: Trial, chosen: Sequence[Setting], allowed: Sequence[Sequence[str]]) -> Iterator[tuple[Setting, ...]]:
    """Yield a configuration's neighbours as InferLine has them: cheaper, or doubled batches with fewer replicas."""
    for at, (stage, each) in enumerate(zip(trial.graph.stages, chosen, strict=True)):
        sizes = replica_counts(stage)
        place = sizes.index(each.replicas)
        options = [replace(each, replicas=sizes[place - 1])] if place > 0 else []
        doubled = min(each.batch * 2, stage.on(each.hardware).profile.most)
        if doubled > each.batch:
            options += [
                replace(each, batch=doubled, replicas=sizes[less]) for less in range(max(place - 1, 0), place + 1)
            ]
        for name in allowed[at]:
            if name != each.hardware:
                most = stage.on(name).profile.most
                count = trial.least(at, name)
                for batch in {1, each.batch, doubled}:
                    if count and batch <= most:
                        options += [Setting(name, more, batch) for more in sizes[sizes.index(count) :][:3]]
        for option in options:
            yield (*chosen[:at], option, *chosen[at + 1 :])
