"""What a policy sees of a pipeline once a second, and what it may ask for: the whole of its world.

A policy is ``(Observation, Memory) -> (Action, Memory)``; whoever calls it gives back the memory that
it got last (``None`` the first time). Everything in an observation lies in the past, and
everything that a decision rests on lies in the observation or in the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Setting:
    """How one stage shall run. Replicas of other hardware than ``hardware`` retire once these are ready.

    ``wait_s``: how long a replica that is free waits for a batch to fill, counted from its oldest event.
    """

    hardware: str
    replicas: int
    batch: int
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """Batches of one size that ended in the last interval: how many, and their mean service time."""

    batch: int
    mean_s: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageObservation:
    """One stage at the end of the last interval.

    ``arrivals``: events that reached it in the interval, by event time. ``queue``: events that wait, not
    yet in a batch; ``in_service``: events in batches now. ``ready``: replicas that serve (those told
    to retire not counted); ``pending``: when each replica that is starting will be ready, as far as
    known, ascending; ``retiring``: replicas that finish their last batch. ``busy_s``: replica-seconds
    spent on batches in the interval. ``oldest_wait_s``: age in the queue of its first event.
    """

    name: str
    arrivals: int
    queue: int
    ready: int
    hardware: str
    batch: int
    in_service: int = 0
    pending: tuple[float, ...] = ()
    retiring: int = 0
    served: tuple[Served, ...] = ()
    busy_s: float = 0.0
    oldest_wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A pipeline at ``time_s``: what the last ``interval_s`` brought.

    ``counts``: events that arrived in each of equal parts of the interval, in order (two parts of a
    second where the interval is one). ``tenths``: events by tenth of a second, those that were told in time, maybe of a
    little earlier; empty where nobody tells. ``ended``: events whose outcome is known since, ``missed`` of them
    late, shed or failed; ``shed`` of those never computed to the end on purpose. ``expected_per_s``: the
    rate that an operator would have named beforehand; the same for every policy, and at time 0 all
    that there is.
    """

    time_s: float
    interval_s: float
    counts: tuple[int, ...]
    stages: tuple[StageObservation, ...]
    ended: int = 0
    missed: int = 0
    shed: int = 0
    expected_per_s: float | None = None
    tenths: tuple[int, ...] = ()

    @property
    def arrivals(self) -> int:
        """Return the events that arrived in the last interval."""
        return sum(self.counts)

    def stage(self, name: str) -> StageObservation:
        """Return one stage. Raises ``KeyError`` for others."""
        for each in self.stages:
            if each.name == name:
                return each
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An alternative that was not taken: what, the misses and the cost that it would bring, why not."""

    what: str
    miss: float
    usd_per_hour: float
    why: str


@dataclass(frozen=True, slots=True)
class Action:
    """What shall be from now on, all of it each time; ``held`` where nothing of it is new.

    ``level``: how many members a quorum does without (``Graph.dropped``). ``shed``: events that cannot
    meet their deadline any more are dropped before they are computed, whenever a replica looks for work:
    those for which the start, the service of a batch of all that wait (up to the largest) and the time of
    what remains end behind the deadline. Such an event is a miss. ``ahead_s``: that time by stage
    (:func:`guidevane.control.shedding.ahead_s`); without, the least there is (``Graph.rest_s`` less the stage's own).
    """

    settings: Mapping[str, Setting]
    reason: str
    level: int = 0
    shed: bool = False
    ahead_s: Mapping[str, float] | None = None
    held: bool = False
    rejected: tuple[Rejected, ...] = ()
    predicted_miss: float | None = None
    usd_per_hour: float | None = None
    detail: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


Policy: TypeAlias = Callable[[Observation, Any], tuple[Action, Any]]
"""A policy; its memory is its own affair, and ``None`` before its first observation."""
