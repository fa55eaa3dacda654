"""Limits are wrapped around a policy: what may not be done is held, and says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guidevane.control.policy import Batches, FetchWaits, Hold, Replicas, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.observation import Observation
    from guidevane.control.policy import Action, Memory, Policy
    from guidevane.slo import Latency


@dataclass(frozen=True, slots=True)
class Together:
    """Several policies, one after the other; where none acts, one ``Hold`` says why."""

    policies: Sequence[Policy]

    def __call__(self, seen: Observation, memory: Memory) -> tuple[list[Action], Memory]:
        """Return the actions of all."""
        actions: list[Action] = []
        for policy in self.policies:
            more, memory = policy(seen, memory)
            actions += more
        if actions:
            return actions, memory
        waiting = ", ".join(sorted(memory.intents))
        return [Hold(f"within patience: {waiting}" if waiting else _why_nothing(seen))], memory


@dataclass(frozen=True, slots=True)
class Within:
    """Between ``least`` and ``most`` replicas of each member, at most ``step`` more or fewer at a time."""

    policy: Policy
    least: int = 1
    most: int = 8
    step: int = 4

    def __call__(self, seen: Observation, memory: Memory) -> tuple[list[Action], Memory]:
        """Return the actions, cut to the limits; one that the limits undo becomes a ``Hold``."""
        actions, memory = self.policy(seen, memory)
        return [self._cut(each) if isinstance(each, Scale) else each for each in actions], memory

    def _cut(self, wish: Scale) -> Action:
        stepped = min(max(wish.replicas, wish.before - self.step), wish.before + self.step)
        # The bounds come last: they hold even where the step alone would not lead back into them.
        replicas = min(max(stepped, self.least), self.most)
        if replicas == wish.before:
            return Hold(f"{wish.member} stays at {replicas} replicas, of {self.least} to {self.most}")
        return replace(wish, replicas=replicas)


@dataclass(frozen=True, slots=True)
class Sighted:
    """Act only where everything needed was seen, and nobody asked for a pause."""

    policy: Policy

    def __call__(self, seen: Observation, memory: Memory) -> tuple[list[Action], Memory]:
        """Return the policy's actions, or one ``Hold``; what was intended before is then forgotten."""
        if seen.paused:
            return [Hold(f"paused: {seen.paused}")], type(memory)()
        if seen.missing:
            return [Hold(f"no telemetry from {', '.join(seen.missing)}")], type(memory)()
        return self.policy(seen, memory)


def policy_for(slo: Latency, *, least: int = 1, most: int = 8) -> Policy:
    """Return the policy of one pipeline."""
    steering = Together((FetchWaits(slo.within_ms / 1e3), Batches(), Replicas()))
    return Sighted(Within(steering, least, most))


def _why_nothing(seen: Observation) -> str:
    unknown = sorted(each.name for each in seen.members if each.replicas is None)
    if unknown:
        return f"on course; replicas of {', '.join(unknown)} are not known"
    return "on course"
