"""From what was seen to what shall be done: pure, so that a recorded log can be judged again.

Three policies, one form: ``(Observation, Memory) -> (actions, Memory)``. Time is in the
observation, patience is a span of it, and what is in force is seen, not remembered: an action
that did not come about is simply decided again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from guidevane.control.observation import HOT, MemberSeen, Observation

if TYPE_CHECKING:
    from guidevane.control.observation import StageSeen

FETCH_WAITS_S: Final = (0.002, 0.003, 0.005, 0.008, 0.012, 0.020, 0.030, 0.050)
BATCHES: Final = (64, 128, 256, 512)
_ENOUGH: Final = 20
"""Outputs in the window that a percentile must rest on to be steered by."""


@dataclass(frozen=True, slots=True)
class Set:
    """Change one setting of one room."""

    room: str
    name: str
    value: float
    before: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Change how many replicas a member has."""

    member: str
    replicas: int
    before: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Change nothing. The reason says why in words that stay the same while it lasts."""

    reason: str


Action: TypeAlias = Set | Scale | Hold


@dataclass(frozen=True, slots=True)
class Intent:
    """A change in waiting: to which value, wanted since when without a break."""

    value: float
    since_us: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What a policy takes from one observation to the next, by what it would change."""

    intents: Mapping[str, Intent] = field(default_factory=lambda: MappingProxyType({}))

    def wanting(self, what: str, intent: Intent | None) -> Memory:
        """Return the memory with one intent changed, or forgotten."""
        others = {key: value for key, value in self.intents.items() if key != what}
        return Memory(MappingProxyType(others if intent is None else {**others, what: intent}))


Policy: TypeAlias = Callable[[Observation, Memory], tuple[list[Action], Memory]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a change must be wanted, without a break, before it is made: up and down apart.

    Up, the least that was wanted all along is done; down, the most: who wavers moves little.
    """

    up_s: float
    down_s: float

    def decide(self, what: str, now: float, wanted: float, at_us: int, memory: Memory) -> tuple[float | None, Memory]:
        """Return the value to change to, or ``None``; and what to remember."""
        if wanted == now:
            return None, memory.wanting(what, None)
        before = memory.intents.get(what)
        rising = wanted > now
        if before is None or before.value == now or (before.value > now) != rising:
            before = Intent(wanted, at_us)
        milder = min(before.value, wanted) if rising else max(before.value, wanted)
        if at_us - before.since_us >= (self.up_s if rising else self.down_s) * 1e6:
            return milder, memory.wanting(what, None)
        return None, memory.wanting(what, Intent(milder, before.since_us))


@dataclass(frozen=True, slots=True)
class FetchWaits:
    """How long each fetch waits for company: as long as the objective allows, for waiting saves CPU.

    What is left of ``share`` of the objective, after what the way took without its waits, is dealt
    equally over the hops; each gets half of that, since a record may just miss one fetch. A longer
    wait must fit with ``margin`` to spare, so that noise moves nothing. Past the objective there is
    no patience, but no wait falls below ``least`` of the objective (over the root of the hops): a way
    that is late for want of CPU is later still with a fetch for every few events.
    """

    within_s: float
    share: float = 0.6
    margin: float = 0.2
    least: float = 0.1
    # As long as the window that is looked at: before that, its percentiles still speak of the old wait.
    patience: Patience = Patience(up_s=10.0, down_s=10.0)

    def __call__(self, seen: Observation, memory: Memory) -> tuple[list[Action], Memory]:
        """Return a ``Set`` for each room whose wait shall change."""
        last = seen.stage(HOT[-1])
        if last is None or last.age_p99_s is None or last.records < _ENOUGH:
            return [], memory
        hops = [each for each in seen.stages if each.fetches]
        waited_s = sum(each.settings.get("fetch_wait_s", 0.0) for each in hops)
        spare_s = self.share * self.within_s - max(last.age_p99_s - waited_s, 0.0)
        fits_s, fits_well_s = (self.wait_s(part * spare_s, len(hops)) for part in (1, 1 - self.margin))
        late = last.age_p99_s > self.within_s
        patience = Patience(self.patience.up_s, 0.0) if late else self.patience
        reason = f"p99 age {last.age_p99_s * 1e3:.0f} ms of {self.within_s * 1e3:.0f}, {len(hops)} hops"
        actions: list[Action] = []
        for each in hops:
            wait_s = min(fits_s, max(fits_well_s, each.settings.get("fetch_wait_s", 0.0)))
            more, memory = _Wish(each, "fetch_wait_s", wait_s, reason).decide(patience, seen.at_us, memory)
            actions += more
        return actions, memory

    def wait_s(self, spare_s: float, hops: int) -> float:
        """Return the wait for each of ``hops`` where ``spare_s`` are left for all; never less for more.

        >>> waits = FetchWaits(within_s=0.2)
        >>> waits.wait_s(0.1, 2), waits.wait_s(-0.3, 2), waits.wait_s(9.0, 2)
        (0.02, 0.012, 0.05)
        """
        hops = max(hops, 1)
        each_s = max(spare_s / (2 * hops), self.least * self.within_s / math.sqrt(hops))
        return FETCH_WAITS_S[max(bisect_right(FETCH_WAITS_S, each_s) - 1, 0)]


@dataclass(frozen=True, slots=True)
class Batches:
    """How many records inference may ask its members about at once: four times what comes in while one batch is out.

    A call costs milliseconds whatever its size, so a flight that is cut in two costs twice; the bound is there
    for what a burst would make of a batch, and well above what usually comes.
    """

    patience: Patience = Patience(up_s=2.0, down_s=30.0)

    def __call__(self, seen: Observation, memory: Memory) -> tuple[list[Action], Memory]:
        """Return a ``Set`` of ``max_batch``, where it shall change."""
        stage = seen.stage("inference")
        if stage is None or stage.rate_per_s is None or stage.service_s is None:
            return [], memory
        wanted = self.max_batch(stage.rate_per_s, stage.service_s)
        reason = f"{stage.rate_per_s:.0f} records/s, {stage.service_s * 1e3:.1f} ms a batch"
        return _Wish(stage, "max_batch", wanted, reason).decide(self.patience, seen.at_us, memory)

    def max_batch(self, rate_per_s: float, service_s: float) -> int:
        """Return the batch for a rate and a service time; a power of two, never less for a higher rate.

        >>> Batches().max_batch(3_000, 0.02), Batches().max_batch(1, 0.02)
        (256, 64)
        """
        need = 4 * rate_per_s * service_s
        return next((each for each in BATCHES if each >= need), BATCHES[-1])


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas each member has, from how busy they are and what still waits.

    More, where they would be busier than ``high``; fewer, where one less would still be below
    ``low``; as many, then, as make them busy for ``target`` of the time. What waits before the
    members shall be gone in ``drain_s``. Demand is what arrives, not what replicas get done: those
    that are overrun look no busier than one.
    """

    low: float = 0.6
    target: float = 0.65
    high: float = 0.7
    drain_s: float = 20.0
    patience: Patience = Patience(up_s=3.0, down_s=60.0)

    def __call__(self, seen: Observation, memory: Memory) -> tuple[list[Action], Memory]:
        """Return a ``Scale`` for each member whose replicas shall change."""
        stage = seen.stage("inference")
        arrives = self._arrives(seen)
        lag = stage.lag_records if stage is not None else None
        actions: list[Action] = []
        for member in seen.members:
            if member.busy is None or member.replicas is None:
                continue
            demand = self.demand(member, arrives, lag or 0.0)
            wanted = self.wanted(demand, member.replicas)
            key = f"replicas|{member.name}"
            value, memory = self.patience.decide(key, member.replicas, wanted, seen.at_us, memory)
            if value is not None:
                waits = "backlog not known" if lag is None else f"{lag:.0f} records wait"
                reason = f"needs {demand:.2f} replicas' time, {member.replicas} there, {waits}"
                actions.append(Scale(member.name, int(value), member.replicas, reason))
        return actions, memory

    def demand(self, member: MemberSeen, arrives_per_s: float | None, lag_records: float) -> float:
        """Return the replicas' time that is asked for, in seconds per second."""
        per_row_s = member.busy_per_row_s or 0.0
        arriving = (arrives_per_s or 0.0) * per_row_s
        return max(member.busy or 0.0, arriving) + lag_records * per_row_s / self.drain_s

    def wanted(self, demand: float, replicas: int) -> int:
        """Return how many replicas serve ``demand``; never fewer for more demand.

        >>> [Replicas().wanted(demand, 2) for demand in (0.1, 1.3, 1.5, 6.5)]
        [1, 2, 3, 10]
        """
        if self.low * (replicas - 1) <= demand <= self.high * replicas:
            return replicas
        return max(math.ceil(demand / self.target), 1)

    @staticmethod
    def _arrives(seen: Observation) -> float | None:
        # What the stage before sends on; where it is not known, what inference itself takes.
        for name in ("preprocess", "inference"):
            stage = seen.stage(name)
            if stage is not None and stage.rate_per_s is not None:
                return stage.rate_per_s
        return None


@dataclass(frozen=True, slots=True)
class _Wish:
    """A setting of a stage's room, as a policy would have it."""

    stage: StageSeen
    name: str
    value: float
    reason: str

    def decide(self, patience: Patience, at_us: int, memory: Memory) -> tuple[list[Action], Memory]:
        key = f"{self.stage.name}.{self.name}"
        # What a person has set stays as it is until that person takes it back.
        if self.stage.settings_by:
            return [], memory.wanting(key, None)
        before = self.stage.settings.get(self.name)
        if before is None:
            return [Set(self.stage.name, self.name, self.value, None, self.reason)], memory.wanting(key, None)
        value, memory = patience.decide(key, before, self.value, at_us, memory)
        return ([] if value is None else [Set(self.stage.name, self.name, value, before, self.reason)]), memory
