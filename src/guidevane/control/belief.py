"""What the tuner believes: of the traffic, of how bursty it is, of service times, and of the budget that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from guidevane.control.arrivals import SPREAD
from guidevane.control.headroom import Headroom
from guidevane.control.table import CLASSES, class_of
from guidevane.control.traffic import Traffic

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from guidevane.control.hardware import Choice
    from guidevane.control.plant import Action, Observation
    from guidevane.control.profile import Correction


@dataclass(frozen=True)
class Tuning:
    """The tuner's constants: spans in seconds, shares 0-1. None of them was fitted to a single pipeline."""

    hold_s: float = 20.0
    hold_startups: float = 1.2
    use_share: float = 0.5
    plan_share: float = 0.5
    most_share: float = 1.2
    spent_share: float = 0.8
    budget_horizon_s: float = 900.0
    budget_memory_s: float = 3600.0
    drain_s: float = 4.0
    margin_every_s: float = 30.0
    learn_every_s: float = 10.0
    steady_share: float = 2.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What the tuner knows besides the table. ``ready_for``: the rate that the last decision is for.

    ``events`` and ``misses`` are slowly forgotten: the budget. ``recent``: (ended, missed) of the last 120
    observations that brought no more than was planned for, from which the slow integral moves
    ``margin``. ``dispersion``: the one planned for; ``bursts``: the usual one. ``choice``: the hardware, and what
    was regretted of it. ``opening_per_s``: what was expected at the beginning; ``reserves``: by stage, the rate to be
    ready for whatever comes (``reserve``). ``mixed``: by stage, whether replicas of more than one kind may have served.
    """

    traffic: Traffic = field(default_factory=Traffic)
    headroom: Headroom = field(default_factory=Headroom)
    ready_for: float = 0.0
    began_s: float = 0.0
    learned_at_s: float = 0.0
    events: float = 0.0
    misses: float = 0.0
    margin: float = 1.0
    margin_at_s: float = 0.0
    recent: tuple[tuple[int, int], ...] = ()
    corrections: tuple[Correction, ...] = ()
    mixed: tuple[bool, ...] = ()
    dispersion: float = 2.0
    bursts: float = 2.0
    opening_per_s: float = 0.0
    reserves: tuple[float, ...] = ()
    choice: Choice | None = None
    last: Action | None = None

    def left(self, epsilon: float, coming: float) -> float:
        """Return how many events may still miss, when ``coming`` more are counted on; negative where too many did."""
        return epsilon * (self.events + coming) - self.misses

    def share(self, epsilon: float, tuning: Tuning) -> float:
        """Return the share of events that may miss from now on: what is left of the budget moves it."""
        coming = max(self.headroom.usual_per_s, 1e-9) * tuning.budget_horizon_s
        share = max(self.left(epsilon, coming) / coming, 0.05 * epsilon)
        return tuning.use_share * min(share, tuning.most_share * epsilon)


def observed(graph: Graph, epsilon: float, tuning: Tuning, seen: Observation, memory: Memory) -> Memory:
    """Return the memory with an observation taken in."""
    traffic = memory.traffic.after(seen.counts, seen.interval_s, seen.tenths)
    forget = math.exp(-seen.interval_s / tuning.budget_memory_s)
    # What nobody was ready for yet is headroom's to learn from, not the margin's.
    starting = any(seen.stage(name).pending for name in graph.names)
    foreseen = traffic.demand_per_s() <= memory.ready_for and not starting
    recent = (*memory.recent, (seen.ended, seen.missed if foreseen else 0))[-120:]
    looked = [seen.stage(name) for name in graph.names]
    mixed = tuple(
        len(stage.hardware) > 1 and bool(each.pending or each.retiring)
        for stage, each in zip(graph.stages, looked, strict=True)
    )
    corrections = tuple(
        correction
        # While hardware changes, what is served is served by the old: it says nothing of the new.
        if now or before
        else correction.learn(
            stage.on(each.hardware).profile, [(served.batch, served.mean_s, served.count) for served in each.served]
        )
        for stage, each, correction, now, before in zip(
            graph.stages, looked, memory.corrections, mixed, memory.mixed or mixed, strict=True
        )
    )
    bursts = _drawn(memory.bursts, traffic, seen, memory.headroom.usual_per_s)
    # Burstiness is a class of the table: it changes where it is clearly another.
    dispersion = memory.dispersion
    if class_of(bursts / 1.1) > class_of(dispersion) or class_of(bursts * 1.25) < class_of(dispersion):
        dispersion = bursts
    margin, margin_at_s = memory.margin, memory.margin_at_s
    if seen.time_s - margin_at_s >= tuning.margin_every_s:
        ended = sum(each for each, _ in recent)
        burnt = sum(each for _, each in recent) / ended if ended else 0.0
        pull = min(max((burnt - epsilon) / max(epsilon, _LEAST_EPSILON), -1.0), 2.0)
        if burnt > epsilon and traffic.heaped > _HEAPED:
            # Heaps meet, or a stream beside them hides them: they are larger than counts surely tell.
            bursts = min(bursts * _LARGER, CLASSES[-1])
        margin, margin_at_s = min(max(margin * (1 + 0.02 * pull), 1.0), 1.3), seen.time_s
    return replace(
        memory,
        traffic=traffic,
        events=memory.events * forget + seen.ended,
        misses=memory.misses * forget + seen.missed,
        recent=recent,
        corrections=corrections,
        mixed=mixed,
        dispersion=dispersion,
        bursts=bursts,
        margin=margin,
        margin_at_s=margin_at_s,
    )


_LEAST_EPSILON = 1e-4
_LARGER = 1.5
"""How much larger heaps are planned for where those that were planned for miss too many, each half minute."""
_HEAPED = 4.0
"""With a higher dispersion of tenths of a second events are taken to come in heaps, at least some of them."""
_UP_S, _DOWN_S = 30.0, 300.0


def _drawn(bursts: float, traffic: Traffic, seen: Observation, usual_per_s: float) -> float:
    """Return the usual dispersion one observation later: it rises within half a minute of traffic, and falls in five.

    What comes in a lull says little of how bursty the traffic is that matters: seconds count by their events. What
    is sure is believed at once. Half seconds tell no heap from what took half a second to come: more than
    ``SPREAD`` only tenths of a second say.
    """
    came = min(traffic.dispersion, SPREAD)
    span_s = _UP_S if came > bursts else _DOWN_S
    weight = min(sum(seen.counts) / max(usual_per_s, 1e-9), 3 * seen.interval_s) / span_s
    return max(bursts + min(weight, 1.0) * (came - bursts), min(traffic.at_least, SPREAD), traffic.heaped)
