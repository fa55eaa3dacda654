"""The tuner: once a second, from what was observed to replicas, batches and hardware. Pure: a recorded log replays it.

A change of batch takes effect at once and a launch after its start-up; replicas told to leave while
others start are taken back before anything is launched: all that is the plant's, which is
told what shall be, never by how much to change it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from guidevane.control.belief import Memory, Tuning, observed
from guidevane.control.bridging import bridged
from guidevane.control.lulls import QUIET, Lulls
from guidevane.control.plans import Plans
from guidevane.control.plant import Action, Rejected, Setting
from guidevane.control.profile import Correction
from guidevane.control.reserve import Fear, again, reserve
from guidevane.control.shedding import ways_s
from guidevane.control.table import STEP, Row, place
from guidevane.control.trial import hourly_usd

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from guidevane.control.outlook import Planned
    from guidevane.control.plant import Observation

__all__ = ["Memory", "Steering", "Tuning"]


class Steering:
    """The policy of one pipeline: ``first`` for the first observation, ``step`` for each one after.

    It may be called as a policy: ``(observation, memory or None) -> (action, memory)``. The tables that it
    looks up are functions of the graph and the objective; they are kept, and are no memory.

    ``surprised`` is the share (0-1) of events that may miss because more came than anybody was ready for; it is
    ``epsilon``, unless a pipeline has an answer for them: what is planned for keeps ``epsilon`` all the same.
    """

    def __init__(
        self,
        graph: Graph,
        slo_s: float,
        epsilon: float = 0.01,
        *,
        surprised: float | None = None,
        tuning: Tuning | None = None,
        fear: Fear | None = None,
    ) -> None:
        """Prepare; nothing is planned before the first observation."""
        self.graph, self.slo_s, self.epsilon = graph, slo_s, epsilon
        self.surprised = max(epsilon, surprised or 0.0)
        self.tuning, self.fear = tuning or Tuning(), fear or Fear()
        self._plans = Plans(graph, slo_s, self.tuning.plan_share * epsilon, most=epsilon)

    def __call__(self, seen: Observation, memory: Memory | None) -> tuple[Action, Memory]:
        """Return what shall be, and what to remember."""
        return self.first(seen) if memory is None else self.step(seen, memory)

    def first(self, seen: Observation) -> tuple[Action, Memory]:
        """Return what to deploy before anything was observed: a plan for the rate that is expected."""
        expected = seen.expected_per_s or 1.0
        corrections = tuple(Correction() for _ in self.graph.stages)
        opening = seen.expected_per_s or 0.0
        memory = Memory(corrections=corrections, began_s=seen.time_s, margin_at_s=seen.time_s, opening_per_s=opening)
        ready_for = expected * memory.headroom.factor
        memory = replace(memory, ready_for=ready_for, choice=self._plans.opening(memory, expected))
        memory = replace(memory, reserves=self._reserves(seen, memory))
        row = self._plans.table(memory).row(ready_for, memory.dispersion)
        reason = f"the first plan, for {expected:.1f} events/s expected, in reserve {_highest(memory):.1f}"
        settings = self._reserved(row, memory)
        action = self._action(settings, row, reason, expected, memory, settings)
        return action, replace(memory, last=action)

    def step(self, seen: Observation, memory: Memory) -> tuple[Action, Memory]:
        """Return what shall be from now on, and what to remember."""
        memory = observed(self.graph, self.epsilon, self.tuning, seen, memory)
        traffic, tuning = memory.traffic, self.tuning
        startup_s = self._startup_s(memory)
        hold_s = self._hold_s(startup_s)
        ahead = traffic.ahead_per_s(startup_s + 2)
        rising = ahead if ahead > traffic.rate_per_s else 0.0
        headroom = memory.headroom.after(traffic.rate_per_s, traffic.demand_per_s(), rising)
        passed_s = seen.time_s - memory.learned_at_s
        learning = passed_s >= tuning.learn_every_s
        if learning:
            headroom = headroom.chosen(
                memory.share(self.surprised, tuning),
                lag_s=startup_s + 2,
                hold_s=hold_s,
                outlook=self._plans.outlook(memory),
                spent=memory.left(tuning.spent_share * self.surprised, 0.0) < 0,
            )
            memory = replace(memory, learned_at_s=seen.time_s)
        # What was learned below a rate is not to be trusted where it loses by that rate alone.
        steady = self._plans.outlook(memory).least(traffic.rate_per_s, tuning.steady_share * self.epsilon)
        target = memory.margin * max(headroom.ready_for(hold_s), steady)
        # What little was seen so far does not outweigh what was expected.
        known_s = traffic.seen_s()
        expected = seen.expected_per_s or 0.0
        if known_s < _SETTLED_S:
            target = max(target, expected * headroom.factor * (1 - known_s / _SETTLED_S))
        memory = replace(memory, headroom=headroom, ready_for=target)
        if learning:
            memory = replace(memory, choice=self._plans.chosen(memory, target, passed_s, startup_s))
            memory = replace(memory, reserves=self._reserves(seen, memory))
        row = self._plans.table(memory).row(target, memory.dispersion)
        settings = self._with_backlog(self._reserved(row, memory), seen)
        settings, serving = self._bridged(settings, seen, memory)
        reason = (
            f"{traffic.rate_per_s:.1f} events/s over {traffic.span_s:g} s, dispersion {traffic.dispersion:.1f}; "
            f"ready for {target:.1f} (headroom {headroom.factor:.2f} kept {hold_s * headroom.held:.0f} s, at least "
            f"{headroom.level_per_s:.1f}, slope to {ahead:.1f}, margin {memory.margin:.2f}, in reserve "
            f"{_highest(memory):.1f})"
        )
        action = self._action(settings, row, reason, traffic.rate_per_s, memory, serving)
        return action, replace(memory, last=action)

    def _reserves(self, seen: Observation, memory: Memory) -> tuple[float, ...]:
        """Return, by stage, the rate to be ready for whatever comes: a stage that starts quickly needs less of it."""
        outlook, kinds = self._plans.outlook(memory), memory.choice.kinds if memory.choice else ()
        found: dict[float, float] = {}
        for stage, kind in zip(self.graph.stages, kinds, strict=True):
            startup_s = stage.on(kind).startup_s
            if startup_s not in found:
                found[startup_s] = self._reserve(outlook, seen, memory, startup_s)
        return tuple(found[stage.on(kind).startup_s] for stage, kind in zip(self.graph.stages, kinds, strict=True))

    def _reserve(self, outlook: Planned, seen: Observation, memory: Memory, startup_s: float) -> float:
        """Return the rate that stages with this start-up are to be ready for: what nobody has seen, and what came."""
        passed_s, fear, left = seen.time_s - memory.began_s, self.fear, memory.left(self.surprised, 0.0)
        hold_s = self._hold_s(startup_s)
        lulls = Lulls.of(memory.headroom.demands, least_s=hold_s)
        opening = _opening_per_s(memory, passed_s)
        feared = fear.feared_per_s(opening, memory.traffic.rate_per_s, passed_s, startup_s, lulls)
        unseen = reserve(
            outlook,
            feared,
            fear,
            passed_s=passed_s,
            startup_s=startup_s,
            budget=left,
            epsilon=self.surprised,
            lulls=lulls,
        )
        bearable = max(fear.use_share * (left + self.surprised * fear.again * memory.events), 0.0)
        seen_before = again(
            outlook, memory.headroom, fear, startup_s=startup_s, hold_s=hold_s, bearable=bearable, lulls=lulls
        )
        return max(unseen, seen_before)

    def _hold_s(self, startup_s: float) -> float:
        return max(self.tuning.hold_s, self.tuning.hold_startups * startup_s)

    def _reserved(self, row: Row, memory: Memory) -> tuple[Setting, ...]:
        """Return a row's settings, of higher rows where a stage shall be ready for more.

        What to be ready for was judged by whole places of the table (``outlook``), and is taken from them.
        """
        table, settings = self._plans.table(memory), list(row.settings)
        for at, rate_per_s in enumerate(memory.reserves):
            if place(rate_per_s) > place(row.rate_per_s):
                higher = table.row(STEP ** place(rate_per_s), memory.dispersion).settings[at]
                if higher.replicas > settings[at].replicas:
                    settings[at] = higher
        return tuple(settings)

    def _with_backlog(self, wanted: tuple[Setting, ...], seen: Observation) -> tuple[Setting, ...]:
        """Return settings with the replicas that what waits already needs to be gone in ``drain_s``.

        What can only be served too late is not waited for: those events are dropped when a replica looks at them.
        """
        settings = []
        for stage, setting in zip(self.graph.stages, wanted, strict=True):
            each = seen.stage(stage.name)
            profile = stage.on(setting.hardware).profile
            per_s = profile.throughput(setting.batch)
            bearable = setting.replicas * (setting.batch + per_s * self.slo_s)
            soon = sum(max(self.tuning.drain_s - max(at - seen.time_s, 0.0), 0.0) for at in each.pending) * per_s
            over = each.queue - bearable - soon
            extra = min(max(math.ceil(over / (per_s * self.tuning.drain_s)), 0), setting.replicas)
            settings.append(replace(setting, replicas=setting.replicas + extra))
        return tuple(settings)

    def _bridged(
        self, wanted: tuple[Setting, ...], seen: Observation, memory: Memory
    ) -> tuple[tuple[Setting, ...], tuple[Setting, ...]]:
        """Return settings with the batches with which fewest miss now, and the same with the replicas that serve now.

        Larger batches bear more, and leave an event less time to wait: the simulation says which counts for more.
        """
        table, rate_per_s = self._plans.table(memory), memory.traffic.rate_per_s
        larger = bridged(self.graph, wanted, seen, rate_per_s, self.slo_s)
        served, others = (self._serving(each, seen) for each in (wanted, larger))
        if larger != wanted:
            at = place(rate_per_s)
            if table.probed(others, at, memory.dispersion) < table.probed(served, at, memory.dispersion):
                return larger, others
        return wanted, served

    def _serving(self, wanted: tuple[Setting, ...], seen: Observation) -> tuple[Setting, ...]:
        """Return settings with as many replicas as serve already; with all, where none does."""
        ready = [
            min(seen.stage(name).ready, each.replicas) for name, each in zip(self.graph.names, wanted, strict=True)
        ]
        return tuple(replace(each, replicas=serve or each.replicas) for each, serve in zip(wanted, ready, strict=True))

    def _ahead_s(
        self, serving: tuple[Setting, ...], ordered: tuple[Setting, ...], memory: Memory, rate_per_s: float
    ) -> dict[str, float]:
        """Return, by stage, what lies before an event at ``rate_per_s``, as it is to be counted on now."""
        ways = ways_s(self.graph, serving, rate_per_s, self.slo_s, ordered)
        best = ways[0]
        if len(ways) > 1:
            best = self._plans.table(memory).shed_s(serving, ordered, place(rate_per_s), memory.dispersion)
        return dict(zip(self.graph.names, best, strict=True))

    def _action(
        self,
        settings: tuple[Setting, ...],
        row: Row,
        reason: str,
        rate_per_s: float,
        memory: Memory,
        serving: tuple[Setting, ...],
    ) -> Action:
        chosen, last = dict(zip(self.graph.names, settings, strict=True)), memory.last
        ahead = self._ahead_s(serving, settings, memory, max(rate_per_s, memory.traffic.demand_per_s()))
        if last is not None and dict(last.settings) == chosen:
            return replace(last, reason=f"held: {reason}", held=True, rejected=(), ahead_s=ahead)
        table, at = self._plans.table(memory), place(row.rate_per_s)
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


_SETTLED_S = 30.0
_LATELY_S = 60


def _opening_per_s(memory: Memory, passed_s: float) -> float:
    """Return what was expected at the beginning, or the highest rate of the last minute, if that is less.

    Three times what nobody brings any more is no surprise to be ready for: what came is replayed by itself. What is
    quiet now is not taken for less.
    """
    opening = memory.opening_per_s
    lately = max(memory.headroom.rates[-_LATELY_S:], default=opening)
    return lately if passed_s >= _LATELY_S and QUIET * opening <= lately < opening else opening


def _highest(memory: Memory) -> float:
    return max(memory.reserves, default=0.0)
