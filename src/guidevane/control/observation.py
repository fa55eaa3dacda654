"""What the controller room saw of a pipeline at one moment: the only thing, besides its memory, that it decides by.

``None`` says that something is not known. It is never written as zero: a room that fell silent
and a room without work are two things, and only one of them may be scaled down.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the journal reads these types when it runs
from dataclasses import dataclass, field

from guidevane.control.plant import Served  # noqa: TC001 - as above

HOT = ("ingest", "preprocess", "inference", "postprocess")
"""The stages between event and decision, in order; also the rooms that the control topic names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeen:
    """One stage over the last window, all instances together. Times in seconds, rates per second.

    ``fetches`` tells the stage that reads a topic from one that is fused behind another.
    ``records`` is how many outputs the percentiles rest on. ``age`` is from event time to the acknowledged
    output. ``served``: batches of its handler since the last observation. ``running`` is what its rooms say
    that they run with, ``settings`` what the control topic wants on top of that, ``settings_by`` the
    person who wanted it, or nothing where it was the controller.
    """

    name: str
    fetches: bool
    records: int
    rate_per_s: float | None = None
    lag_records: float | None = None
    age_p50_s: float | None = None
    age_p99_s: float | None = None
    served: tuple[Served, ...] = ()
    running: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)
    settings_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSeen:
    """One member of the ensemble.

    ``replicas`` are wanted now, as Ray Serve says itself, ``ready`` of them serve, and each time in ``starting`` is
    when one that does not yet was launched (seconds since the epoch). ``startup_s``: what a launch took lately.
    ``served``: batches since the last observation, as replicas timed them; ``waiting``: rows asked for and not yet
    answered. ``told`` is the number of replicas that a person set, if one did.
    """

    name: str
    replicas: int | None = None
    ready: int = 0
    starting: tuple[float, ...] = ()
    startup_s: float | None = None
    served: tuple[Served, ...] = ()
    waiting: float | None = None
    told: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSeen:
    """One room of the hot path: how many processes (consumers) of it there are, and what they do.

    ``heard`` of them say something of themselves. ``busy`` is what their loops did in each second of the last window,
    in seconds of CPU, all of them together. ``wanted`` is what whoever runs them has in force, ``None`` where it does
    not say; ``told`` what the control topic asks for, ``told_by`` the person who did, or nothing where it was the
    controller.
    """

    name: str
    heard: int
    busy: float | None = None
    wanted: int | None = None
    told: int | None = None
    told_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSeen:
    """What live batches say of one station: a batch of b takes ``fixed_s + per_row_s`` b; ``batches`` it rests on.

    ``changes``: how often its model got clearly slower or quicker at equal batches.
    """

    name: str
    fixed_s: float
    per_row_s: float
    batches: float
    changes: int = 0

    def latency_s(self, batch: int) -> float:
        """Return the service time of a batch."""
        return self.fixed_s + self.per_row_s * batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A pipeline at ``at_us``: what the last ``interval_s`` brought, and how it stands.

    ``counts``: events by event time, one number for each half second of the interval that is complete. ``tenths``: the
    same by tenth of a second, a second later, without those that were told late; empty where nobody tells them.
    ``ended``, ``missed``, ``shed``: decisions since the last observation; late, shed and dead ones are missed, and
    ``degraded`` ones were made without some member, or any.
    ``way_s``: the median time of an event's way that neither service nor fetch waits explain. ``usual_p99_s``: the
    99th percentile of the ages of what was decided, as most of the last minute had it. ``expected_per_s``: the rate
    before this controller came, as far as anybody knows. ``missing`` names the stages that say nothing; ``paused``
    why nothing shall be done.
    """

    at_us: int
    pipeline: str
    interval_s: float = 1.0
    counts: tuple[int, ...] = ()
    tenths: tuple[int, ...] = ()
    ended: int = 0
    missed: int = 0
    shed: int = 0
    degraded: int = 0
    stages: tuple[StageSeen, ...] = ()
    members: tuple[MemberSeen, ...] = ()
    rooms: tuple[RoomSeen, ...] = ()
    lines: tuple[LineSeen, ...] = ()
    way_s: float | None = None
    usual_p99_s: float | None = None
    expected_per_s: float | None = None
    missing: tuple[str, ...] = ()
    paused: str = ""

    def stage(self, name: str) -> StageSeen | None:
        """Return one stage, or ``None`` where it was not seen."""
        return next((each for each in self.stages if each.name == name), None)

    def member(self, name: str) -> MemberSeen | None:
        """Return one member, or ``None`` for others."""
        return next((each for each in self.members if each.name == name), None)

    def room(self, name: str) -> RoomSeen | None:
        """Return one room, or ``None`` where it was not seen."""
        return next((each for each in self.rooms if each.name == name), None)

    def line(self, name: str) -> LineSeen | None:
        """Return what is known of a station, or ``None``."""
        return next((each for each in self.lines if each.name == name), None)
