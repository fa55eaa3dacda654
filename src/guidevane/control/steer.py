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
from guidevane.control.headroom import Headroom
from guidevane.control.plant import Action, Rejected, Setting
from guidevane.control.profile import Correction
from guidevane.control.table import STEP, Row, Table, class_of
from guidevane.control.traffic import Traffic
from guidevane.control.trial import hourly_usd

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from guidevane.control.plant import Observation


@dataclass(frozen=True, slots=True)
class Memory:
    """What the tuner knows besides the table. ``wanted``: (time, rate to be ready for) of the patience span.

    ``events`` and ``misses`` are slowly forgotten: the budget. ``recent``: (ended, missed) of the last 120
    observations, from which the slow integral moves ``margin``. ``dispersion``: the one planned for.
    """

    traffic: Traffic = field(default_factory=Traffic)
    headroom: Headroom = field(default_factory=Headroom)
    wanted: tuple[tuple[float, float], ...] = ()
    events: float = 0.0
    misses: float = 0.0
    margin: float = 1.0
    margin_at_s: float = 0.0
    recent: tuple[tuple[int, int], ...] = ()
    corrections: tuple[Correction, ...] = ()
    dispersion: float = 2.0
    last: Action | None = None


@dataclass(frozen=True)
class Tuning:
    """The tuner's constants: spans in seconds, shares 0-1. None of them was fitted to a single pipeline."""

    hold_s: float = 40.0
    hold_startups: float = 1.5
    surprise_share: float = 0.4
    plan_share: float = 0.5
    budget_horizon_s: float = 900.0
    budget_memory_s: float = 3600.0
    drain_s: float = 4.0
    margin_every_s: float = 30.0
    learn_every: int = 10


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
        self._hardware: dict[tuple[object, ...], tuple[str, ...]] = {}

    def __call__(self, seen: Observation, memory: Memory | None) -> tuple[Action, Memory]:
        """Return what shall be, and what to remember."""
        return self.first(seen) if memory is None else self.step(seen, memory)

    def first(self, seen: Observation) -> tuple[Action, Memory]:
        """Return what to deploy before anything was observed: a plan for the rate that is expected."""
        expected = seen.expected_per_s or 1.0
        memory = Memory(
            corrections=tuple(Correction() for _ in self.graph.stages),
            wanted=((seen.time_s, expected),),
            margin_at_s=seen.time_s,
        )
        row = self._table(memory, expected).row(expected * memory.headroom.factor, memory.dispersion)
        action = self._action(
            row.settings, row, f"the first plan, for {expected:.1f} events/s expected", None, expected, memory
        )
        return action, replace(memory, last=action)

    def step(self, seen: Observation, memory: Memory) -> tuple[Action, Memory]:
        """Return what shall be from now on, and what to remember."""
        memory = self._observed(seen, memory)
        traffic, now = memory.traffic, seen.time_s
        startup_s = self._startup_s(memory)
        hold_s = max(self.tuning.hold_s, self.tuning.hold_startups * startup_s)
        headroom = memory.headroom.after(traffic.rate_per_s, traffic.surplus_per_s(5.0))
        if len(headroom.rates) % self.tuning.learn_every == 0:
            headroom = headroom.chosen(self._share(memory), lag_s=startup_s + 2, hold_s=hold_s)
        factor, level = headroom.factor, headroom.level_per_s
        ahead = traffic.ahead_per_s(startup_s + 2)
        ready_for = memory.margin * max(traffic.rate_per_s * factor, level, ahead)
        # What little was seen so far does not outweigh what was expected.
        known_s = traffic.seen_s()
        expected = seen.expected_per_s or traffic.rate_per_s
        if known_s < 30 and traffic.rate_per_s < expected:  # noqa: PLR2004 - half a minute
            ready_for = max(ready_for, expected * (1 - known_s / 30) + ready_for * known_s / 30)
        wanted = (*((at, rate) for at, rate in memory.wanted if at > now - hold_s), (now, ready_for))
        target = max(rate for _, rate in wanted)
        table = self._table(memory, target)
        row = table.row(target, memory.dispersion)
        settings = bridged(self.graph, self._with_backlog(row, seen), seen, traffic.rate_per_s, self.slo_s)
        memory = replace(memory, wanted=wanted, headroom=headroom)
        reason = (
            f"{traffic.rate_per_s:.1f} events/s over {traffic.span_s:g} s, dispersion {traffic.dispersion:.1f}; "
            f"ready for {target:.1f} (headroom {factor:.2f}, at least {level:.1f}, slope to {ahead:.1f}, "
            f"margin {memory.margin:.2f}, "
            f"{len(wanted)} s of patience)"
        )
        action = self._action(settings, row, reason, memory.last, traffic.rate_per_s, memory)
        return action, replace(memory, last=action)

    def _observed(self, seen: Observation, memory: Memory) -> Memory:
        """Return the memory with an observation taken in."""
        now, tuning = seen.time_s, self.tuning
        traffic = memory.traffic.after(seen.counts, seen.interval_s)
        forget = math.exp(-seen.interval_s / tuning.budget_memory_s)
        events, misses = memory.events * forget + seen.ended, memory.misses * forget + seen.missed
        recent = (*memory.recent, (seen.ended, seen.missed))[-120:]
        corrections = tuple(
            correction.learn(
                stage.on(each.hardware).profile, [(served.batch, served.mean_s, served.count) for served in each.served]
            )
            for stage, each, correction in zip(
                self.graph.stages, (seen.stage(name) for name in self.graph.names), memory.corrections, strict=True
            )
        )
        # Burstiness is a class of the table: it changes where it is clearly another.
        dispersion = memory.dispersion
        if class_of(traffic.dispersion / 1.1) > class_of(dispersion) or class_of(traffic.dispersion * 1.25) < class_of(
            dispersion
        ):
            dispersion = traffic.dispersion
        margin, margin_at_s = memory.margin, memory.margin_at_s
        if now - margin_at_s >= tuning.margin_every_s:
            ended = sum(each for each, _ in recent)
            burnt = sum(each for _, each in recent) / ended if ended else 0.0
            pull = min(max((burnt - self.epsilon * tuning.plan_share) / self.epsilon, -1.0), 2.0)
            margin, margin_at_s = min(max(margin * (1 + 0.02 * pull), 0.97), 1.3), now
        return replace(
            memory,
            traffic=traffic,
            events=events,
            misses=misses,
            recent=recent,
            corrections=corrections,
            dispersion=dispersion,
            margin=margin,
            margin_at_s=margin_at_s,
        )

    def _share(self, memory: Memory) -> float:
        """Return the share of events that surprises may cost from now on: what is left of the budget moves it."""
        coming = max(memory.traffic.rate_per_s, 1e-9) * self.tuning.budget_horizon_s
        left = self.epsilon * (memory.events + coming) - memory.misses
        return self.tuning.surprise_share * min(max(left / coming, 0.05 * self.epsilon), 3 * self.epsilon)

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
        if last is not None and dict(last.settings) == chosen:
            return replace(last, reason=f"held: {reason}", held=True, rejected=())
        table = self._table(memory, rate_per_s)
        usd = hourly_usd(self.graph, settings)
        options = [] if last is None else [("stay as it is", tuple(last.settings[name] for name in self.graph.names))]
        options.append(("the plan for the rate now", table.row(rate_per_s, memory.dispersion).settings))
        options.append(("one step of the table less", table.row(row.rate_per_s / STEP**4, memory.dispersion).settings))
        rejected = tuple(
            Rejected(
                what,
                miss,
                cost,
                "misses too many" if miss > self.epsilon else "dearer" if cost > usd else "no room for surprises",
            )
            for what, other in options
            if other != settings
            for miss, cost in [(table.miss(other, row.rate_per_s, memory.dispersion), hourly_usd(self.graph, other))]
        )
        predicted = table.miss(settings, row.rate_per_s, memory.dispersion)
        return Action(
            settings=chosen,
            reason=reason if row.feasible else f"{reason}; no plan keeps the objective, so the rate is borne",
            shed=True,
            rejected=rejected,
            predicted_miss=predicted,
            usd_per_hour=usd,
        )

    def _startup_s(self, memory: Memory) -> float:
        """Return how long the slowest launch takes, on the hardware in force."""
        if memory.last is None:
            return max(hw.startup_s for stage in self.graph.stages for hw in stage.hardware)
        return max(stage.on(memory.last.settings[stage.name].hardware).startup_s for stage in self.graph.stages)

    def _table(self, memory: Memory, rate_per_s: float) -> Table:
        """Return the table for the profiles as live batches have them, on the hardware chosen for about this rate."""
        scales = tuple(_quantized(each) for each in memory.corrections)
        key: tuple[object, ...] = scales
        if key not in self._tables:
            graph = self.graph if not any(scales) else _slowed(self.graph, scales)
            if key not in self._hardware:
                self._hardware[key] = self._choose(graph, rate_per_s)
            self._tables[key] = Table(graph, self.slo_s, self.tuning.plan_share * self.epsilon, self._hardware[key])
        return self._tables[key]

    def _choose(self, graph: Graph, rate_per_s: float) -> tuple[str, ...]:
        """Return the hardware per stage that is cheapest over about half to twice a rate."""
        free = Table(graph, self.slo_s, self.tuning.plan_share * self.epsilon)
        rates = [rate_per_s * factor for factor in (0.6, 1.0, 1.6)]
        candidates = list(
            dict.fromkeys(tuple(each.hardware for each in free.row(rate, 2.0).settings) for rate in rates)
        )
        tables = [Table(graph, self.slo_s, self.tuning.plan_share * self.epsilon, kinds) for kinds in candidates]
        costs = [sum(table.row(rate, 2.0).usd_per_hour for rate in rates) for table in tables]
        return candidates[costs.index(min(costs))]


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
