"""The tuner: once a second, from what was observed to replicas, batches and hardware. Pure: a recorded log replays it.

A change of batch takes effect at once and a launch after its start-up; replicas told to leave while
others start are taken back before anything is launched: all that is the plant's, which is
told what shall be, never by how much to change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from guidevane.control.bridging import bridged
from guidevane.control.hardware import Choice
from guidevane.control.headroom import Headroom
from guidevane.control.outlook import Planned
from guidevane.control.plant import Action, Rejected, Setting
from guidevane.control.profile import Correction
from guidevane.control.shedding import ahead_s
from guidevane.control.table import STEP, Row, Table, class_of, place
from guidevane.control.traffic import Traffic
from guidevane.control.trial import hourly_usd

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from guidevane.control.hardware import Kinds
    from guidevane.control.plant import Observation


@dataclass(frozen=True, slots=True)
class Memory:
    """What the tuner knows besides the table. ``ready_for``: the rate that the last decision is for.

    ``events`` and ``misses`` are slowly forgotten: the budget. ``recent``: (ended, missed) of the last 120
    observations that brought no more than was planned for, from which the slow integral moves
    ``margin``. ``dispersion``: the one planned for; ``bursts``: the usual one. ``choice``: the hardware, and what
    was regretted of it.
    """

    traffic: Traffic = field(default_factory=Traffic)
    headroom: Headroom = field(default_factory=Headroom)
    ready_for: float = 0.0
    learned_at_s: float = 0.0
    events: float = 0.0
    misses: float = 0.0
    margin: float = 1.0
    margin_at_s: float = 0.0
    recent: tuple[tuple[int, int], ...] = ()
    corrections: tuple[Correction, ...] = ()
    dispersion: float = 2.0
    bursts: float = 2.0
    choice: Choice | None = None
    last: Action | None = None


@dataclass(frozen=True)
class Tuning:
    """The tuner's constants: spans in seconds, shares 0-1. None of them was fitted to a single pipeline."""

    hold_s: float = 20.0
    hold_startups: float = 1.2
    use_share: float = 0.6
    plan_share: float = 0.5
    most_share: float = 1.2
    budget_horizon_s: float = 900.0
    budget_memory_s: float = 3600.0
    drain_s: float = 4.0
    margin_every_s: float = 30.0
    learn_every_s: float = 10.0


class Steering:
    """The policy of one pipeline: ``first`` for the first observation, ``step`` for each one after.

    It may be called as a policy: ``(observation, memory or None) -> (action, memory)``. The tables that it
    looks up are functions of the graph and the objective; they are kept, and are no memory.
    """

    def __init__(self, graph: Graph, slo_s: float, epsilon: float = 0.01, tuning: Tuning | None = None) -> None:
        """Prepare; nothing is planned before the first observation."""
        self.graph, self.slo_s, self.epsilon = graph, slo_s, epsilon
        self.tuning = tuning or Tuning()
        self._tables: dict[tuple[object, ...], Table] = {}
        self._outlooks: dict[tuple[object, ...], Planned] = {}

    def __call__(self, seen: Observation, memory: Memory | None) -> tuple[Action, Memory]:
        """Return what shall be, and what to remember."""
        return self.first(seen) if memory is None else self.step(seen, memory)

    def first(self, seen: Observation) -> tuple[Action, Memory]:
        """Return what to deploy before anything was observed: a plan for the rate that is expected."""
        expected = seen.expected_per_s or 1.0
        memory = Memory(corrections=tuple(Correction() for _ in self.graph.stages), margin_at_s=seen.time_s)
        ready_for = expected * memory.headroom.factor
        memory = replace(memory, ready_for=ready_for, choice=self._opening(memory, expected))
        row = self._table(memory).row(ready_for, memory.dispersion)
        action = self._action(
            row.settings, row, f"the first plan, for {expected:.1f} events/s expected", None, expected, memory
        )
        return action, replace(memory, last=action)

    def step(self, seen: Observation, memory: Memory) -> tuple[Action, Memory]:
        """Return what shall be from now on, and what to remember."""
        memory = self._observed(seen, memory)
        traffic, tuning = memory.traffic, self.tuning
        startup_s = self._startup_s(memory)
        hold_s = max(tuning.hold_s, tuning.hold_startups * startup_s)
        ahead = traffic.ahead_per_s(startup_s + 2)
        rising = ahead if ahead > traffic.rate_per_s else 0.0
        headroom = memory.headroom.after(traffic.rate_per_s, traffic.demand_per_s(), rising)
        passed_s = seen.time_s - memory.learned_at_s
        learning = passed_s >= tuning.learn_every_s
        if learning:
            headroom = headroom.chosen(
                self._share(memory), lag_s=startup_s + 2, hold_s=hold_s, outlook=self._outlook(memory)
            )
            memory = replace(memory, learned_at_s=seen.time_s)
        target = memory.margin * headroom.ready_for(hold_s)
        # What little was seen so far does not outweigh what was expected.
        known_s = traffic.seen_s()
        expected = seen.expected_per_s or 0.0
        if known_s < _SETTLED_S:
            target = max(target, expected * headroom.factor * (1 - known_s / _SETTLED_S))
        memory = replace(memory, headroom=headroom, ready_for=target)
        if learning:
            memory = replace(memory, choice=self._chosen(memory, target, passed_s, startup_s))
        row = self._table(memory).row(target, memory.dispersion)
        settings = bridged(self.graph, self._with_backlog(row, seen), seen, traffic.rate_per_s, self.slo_s)
        reason = (
            f"{traffic.rate_per_s:.1f} events/s over {traffic.span_s:g} s, dispersion {traffic.dispersion:.1f}; "
            f"ready for {target:.1f} (headroom {headroom.factor:.2f} kept {hold_s * headroom.held:.0f} s, at least "
            f"{headroom.level_per_s:.1f}, slope to {ahead:.1f}, margin {memory.margin:.2f})"
        )
        action = self._action(settings, row, reason, memory.last, traffic.rate_per_s, memory)
        return action, replace(memory, last=action)

    def _observed(self, seen: Observation, memory: Memory) -> Memory:
        """Return the memory with an observation taken in."""
        now, tuning = seen.time_s, self.tuning
        traffic = memory.traffic.after(seen.counts, seen.interval_s)
        forget = math.exp(-seen.interval_s / tuning.budget_memory_s)
        events, misses = memory.events * forget + seen.ended, memory.misses * forget + seen.missed
        # What nobody was ready for is headroom's to learn from, not the margin's.
        foreseen = traffic.demand_per_s() <= memory.ready_for
        recent = (*memory.recent, (seen.ended, seen.missed if foreseen else 0))[-120:]
        corrections = tuple(
            correction.learn(
                stage.on(each.hardware).profile, [(served.batch, served.mean_s, served.count) for served in each.served]
            )
            for stage, each, correction in zip(
                self.graph.stages, (seen.stage(name) for name in self.graph.names), memory.corrections, strict=True
            )
        )
        bursts = _drawn(memory.bursts, traffic, seen, memory.headroom.usual_per_s)
        # Burstiness is a class of the table: it changes where it is clearly another.
        dispersion = memory.dispersion
        if class_of(bursts / 1.1) > class_of(dispersion) or class_of(bursts * 1.25) < class_of(dispersion):
            dispersion = bursts
        margin, margin_at_s = memory.margin, memory.margin_at_s
        if now - margin_at_s >= tuning.margin_every_s:
            ended = sum(each for each, _ in recent)
            burnt = sum(each for _, each in recent) / ended if ended else 0.0
            pull = min(max((burnt - self.epsilon) / max(self.epsilon, _LEAST_EPSILON), -1.0), 2.0)
            margin, margin_at_s = min(max(margin * (1 + 0.02 * pull), 1.0), 1.3), now
        return replace(
            memory,
            traffic=traffic,
            events=events,
            misses=misses,
            recent=recent,
            corrections=corrections,
            dispersion=dispersion,
            bursts=bursts,
            margin=margin,
            margin_at_s=margin_at_s,
        )

    def _share(self, memory: Memory) -> float:
        """Return the share of events that may miss from now on: what is left of the budget moves it."""
        coming = max(memory.headroom.usual_per_s, 1e-9) * self.tuning.budget_horizon_s
        left = self.epsilon * (memory.events + coming) - memory.misses
        most = self.tuning.most_share * self.epsilon
        return self.tuning.use_share * min(max(left / coming, 0.05 * self.epsilon), most)

    def _with_backlog(self, row: Row, seen: Observation) -> tuple[Setting, ...]:
        """Return a row's settings, with the replicas that what waits already needs to be gone in ``drain_s``.

        What can only be served too late is not waited for: those events are dropped when a replica looks at them.
        """
        settings = []
        for stage, setting in zip(self.graph.stages, row.settings, strict=True):
            each = seen.stage(stage.name)
            profile = stage.on(setting.hardware).profile
            per_s = profile.throughput(setting.batch)
            bearable = setting.replicas * (setting.batch + per_s * self.slo_s)
            soon = sum(max(self.tuning.drain_s - max(at - seen.time_s, 0.0), 0.0) for at in each.pending) * per_s
            over = each.queue - bearable - soon
            extra = min(max(math.ceil(over / (per_s * self.tuning.drain_s)), 0), setting.replicas)
            settings.append(replace(setting, replicas=setting.replicas + extra))
        return tuple(settings)

    def _action(
        self,
        settings: tuple[Setting, ...],
        row: Row,
        reason: str,
        last: Action | None,
        rate_per_s: float,
        memory: Memory,
    ) -> Action:
        chosen = dict(zip(self.graph.names, settings, strict=True))
        busiest = max(rate_per_s, memory.traffic.demand_per_s())
        ahead = dict(zip(self.graph.names, ahead_s(self.graph, settings, busiest, self.slo_s), strict=True))
        if last is not None and dict(last.settings) == chosen:
            return replace(last, reason=f"held: {reason}", held=True, rejected=(), ahead_s=ahead)
        table, at = self._table(memory), place(row.rate_per_s)
        usd = hourly_usd(self.graph, settings)
        options = [] if last is None else [("stay as it is", tuple(last.settings[name] for name in self.graph.names))]
        options.append(("the plan for the rate now", table.row(rate_per_s, memory.dispersion).settings))
        options.append(("one step of the table less", table.row(row.rate_per_s / STEP**2, memory.dispersion).settings))
        rejected = tuple(
            Rejected(
                what,
                miss,
                cost,
                "misses too many" if miss > self.epsilon else "dearer" if cost > usd else "no room for surprises",
            )
            for what, other in options
            if other != settings
            for miss, cost in [(table.probed(other, at, memory.dispersion), hourly_usd(self.graph, other))]
        )
        predicted = table.probed(settings, at, memory.dispersion)
        return Action(
            settings=chosen,
            reason=reason if row.feasible else f"{reason}; no plan keeps the objective, so the rate is borne",
            shed=True,
            ahead_s=ahead,
            rejected=rejected,
            predicted_miss=predicted,
            usd_per_hour=usd,
        )

    def _startup_s(self, memory: Memory) -> float:
        """Return how long the slowest launch takes, on the hardware in force."""
        if memory.last is None:
            return max(hw.startup_s for stage in self.graph.stages for hw in stage.hardware)
        return max(stage.on(memory.last.settings[stage.name].hardware).startup_s for stage in self.graph.stages)

    def _table(self, memory: Memory, kinds: Kinds | None = None) -> Table:
        """Return the table for the profiles as live batches have them, on the hardware in force or on another."""
        return self._planned(tuple(_quantized(each) for each in memory.corrections), kinds or _in_force(memory))

    def _planned(self, scales: tuple[int, ...], kinds: Kinds | None) -> Table:
        if (scales, kinds) not in self._tables:
            graph = _slowed(self.graph, scales) if any(scales) else self.graph
            self._tables[scales, kinds] = Table(graph, self.slo_s, self.tuning.plan_share * self.epsilon, kinds)
        return self._tables[scales, kinds]

    def _outlook(self, memory: Memory) -> Planned:
        """Return what the table says of price and misses, at the dispersion that is planned for."""
        table = self._table(memory)
        key = (id(table), class_of(memory.dispersion))
        if key not in self._outlooks:
            self._outlooks[key] = Planned(table, memory.dispersion)
        return self._outlooks[key]

    def _opening(self, memory: Memory, rate_per_s: float) -> Choice:
        """Return the hardware per stage that is cheapest over about half to twice a rate."""
        rates = [rate_per_s * factor for factor in (0.6, 1.0, 1.6)]
        candidates = list(dict.fromkeys(self._cheapest(memory, rate) for rate in rates))
        costs = [sum(self._table(memory, kinds).row(rate, 2.0).usd_per_hour for rate in rates) for kinds in candidates]
        return Choice(candidates[costs.index(min(costs))])

    def _cheapest(self, memory: Memory, rate_per_s: float) -> Kinds:
        """Return the hardware of the cheapest plan for a rate."""
        free = self._planned(tuple(_quantized(each) for each in memory.corrections), None)
        return tuple(each.hardware for each in free.row(rate_per_s, 2.0).settings)

    def _chosen(self, memory: Memory, target: float, passed_s: float, startup_s: float) -> Choice:
        """Return the hardware from now on; rates are taken in steps of a third: plans on any hardware take a while."""
        choice = memory.choice or Choice(_in_force(memory))
        if all(len(stage.hardware) == 1 for stage in self.graph.stages):
            return choice
        rate = STEP ** (4 * math.ceil(place(target) / 4))
        best = self._cheapest(memory, rate)
        if best == choice.kinds and not choice.regrets:
            return choice
        return choice.after(
            lambda kinds: self._table(memory, kinds).row(rate, memory.dispersion), best, passed_s, startup_s=startup_s
        )


_SETTLED_S, _LEAST_EPSILON = 30.0, 1e-4
_UP_S, _DOWN_S = 30.0, 300.0


def _drawn(bursts: float, traffic: Traffic, seen: Observation, usual_per_s: float) -> float:
    """Return the usual dispersion one observation later: it rises within half a minute of traffic, and falls in five.

    What comes in a lull says little of how bursty the traffic is that matters: seconds count by their events.
    """
    span_s = _UP_S if traffic.dispersion > bursts else _DOWN_S
    weight = min(sum(seen.counts) / max(usual_per_s, 1e-9), 3 * seen.interval_s) / span_s
    return bursts + min(weight, 1.0) * (traffic.dispersion - bursts)


def _in_force(memory: Memory) -> Kinds:
    return memory.choice.kinds if memory.choice else ()


def _quantized(correction: Correction) -> int:
    """Return how many steps of 7 % live batches are slower (or faster) than the profile; 0 before thirty of them."""
    if correction.weight < 30:  # noqa: PLR2004 - thirty batches
        return 0
    return int(math.log(correction.ratio) / math.log(1.07))


def _slowed(graph: Graph, steps: tuple[int, ...]) -> Graph:
    stages = tuple(
        replace(stage, hardware=tuple(replace(hw, profile=hw.profile.scaled(1.07**step)) for hw in stage.hardware))
        for stage, step in zip(graph.stages, steps, strict=True)
    )
    return replace(graph, stages=stages)
