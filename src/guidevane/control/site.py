"""What of a live pipeline the controller may move, and how far; and the graph that it plans with."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from guidevane.control.graph import Edge, Graph, Hardware, Stage
from guidevane.control.profile import Profile
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guidevane.control.observation import Observation

AROUND: Final = ("ingest", "preprocess", "postprocess")
"""The stages before and behind the members: one of each, whose service counts and whose number is not the plan's."""
MOST_BATCH: Final = 512
_ENOUGH, _FEW = 30, 3
"""Batches that a learned line must rest on before anything is planned by it; and where more do not come."""
_SIZES: Final = (1, 16, 64)
_JITTER: Final = 0.1
_HOPS: Final = 3
_ROOM_USD_PER_HOUR: Final = 0.04


@dataclass(frozen=True, kw_only=True)
class Movable:
    """A member whose replicas may be changed, and those ``members`` that share them, itself first.

    ``cpus``: what a replica takes, as the member declares; ``usd_per_hour``: what it costs.
    """

    name: str
    members: tuple[str, ...] = ()
    cpus: float = 1.0
    usd_per_hour: float = 1.0

    @property
    def together(self) -> tuple[str, ...]:
        """Everybody who computes in one of its replicas."""
        return self.members or (self.name,)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The pipeline's objective, its members, and the bounds of everything.

    Each member has ``least`` to ``most`` replicas and gets at most ``step`` more or fewer at once; all of them
    together take at most ``cpus`` cores, where that is known: replicas beyond the cores only take them from each other.
    ``partitions`` are each topic's, and ``most_consumers`` what each room may have of processes (1: they are left as
    they are); ``room_startup_s`` is how long one takes to be heard.
    ``level`` is the ensemble's at rest, ``most_level`` the highest that the controller may set, and ``bridge_share``
    the share of events that may go without a member while what a jump needs is started.
    ``startup_s`` holds until a launch was seen. ``measured`` is the graph that ``guidevane profile`` wrote; without it
    profiles are learned from live batches.
    """

    members: tuple[Movable, ...]
    slo_s: float
    epsilon: float
    quorum: int = 1
    least: int = 1
    most: int = 4
    step: int = 4
    cpus: float | None = None
    startup_s: float = 20.0
    partitions: int = 1
    most_consumers: int = 1
    room_startup_s: float = 60.0
    level: int = 0
    most_level: int = 1
    bridge_share: float = 0.0
    measured: Graph | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the members that have replicas of their own."""
        return tuple(each.name for each in self.members)

    @property
    def surprised(self) -> float:
        """The share of events that a jump may overtake: where none may go without a member, those that may miss."""
        members = sum(len(each.together) for each in self.members)
        bridged = self.bridge_share if self.most_level > self.level and self.quorum < members else 0.0
        return max(self.epsilon, bridged)

    def movable(self, name: str) -> Movable:
        """Return one of the members. Raises ``KeyError`` for others."""
        return {each.name: each for each in self.members}[name]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A belief that is planned with for a while, in seconds: lines by station, the unexplained way, start-ups."""

    lines: tuple[tuple[str, float, float], ...]
    way_s: float
    startups: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, site: Site, seen: Observation, *, few: bool = False) -> Blueprint | None:
        """Return what is believed now; ``None`` where some member has served too few batches to be known.

        ``few``: some batches will do. A member that is overrun answers too late for most of them to count, and whoever
        waited for more of them would wait for ever.
        """
        enough = _FEW if few else _ENOUGH
        lines = {name: line for name in AROUND if (line := _line(seen, (name,), enough)) is not None}
        for each in site.members:
            line = _line(seen, each.together, enough)
            if line is None:
                return None
            lines[each.name] = line
        return cls(
            tuple((name, *line) for name, line in lines.items()),
            seen.way_s or 0.0,
            tuple((each.name, each.startup_s or site.startup_s) for each in seen.members),
        )

    @property
    def stations(self) -> tuple[str, ...]:
        """Whose lines are known."""
        return tuple(name for name, _, _ in self.lines)

    def differs(self, other: Blueprint) -> bool:
        """Tell whether plans by one would be wrong by the other: a quarter in a service, three fifths elsewhere.

        Each new belief is planned with from scratch, and what a busy machine makes of a time is no other model.
        """
        ours, theirs = ({name: rest for name, *rest in each.lines} for each in (self, other))
        if ours.keys() != theirs.keys():
            return True
        service = (
            (fixed + row * size, theirs[name][0] + theirs[name][1] * size)
            for name, (fixed, row) in ours.items()
            for size in _SIZES
        )
        if any(_apart(a, b, 0.25) for a, b in service):
            return True
        starts = dict(other.startups)
        return _apart(self.way_s + 0.01, other.way_s + 0.01, 0.6) or any(
            _apart(seconds, starts.get(name, seconds), 0.6) for name, seconds in self.startups
        )

    def graph(self, site: Site) -> Graph:
        """Return the pipeline as a plan sees it: ingest, preprocess, all members side by side, postprocess."""
        lines = {name: (fixed, row) for name, fixed, row in self.lines}
        startups = dict(self.startups)
        stages = [_room(name, *lines[name], site.slo_s) for name in AROUND[:2] if name in lines]
        before = stages[-1].name if stages else None
        edges = [Edge(a.name, b.name) for a, b in itertools.pairwise(stages)]
        members = [
            Stage(
                each.name,
                (
                    Hardware(
                        "default",
                        _profile(*lines[each.name], site.slo_s),
                        each.usd_per_hour,
                        startups.get(each.name, site.startup_s),
                    ),
                ),
            )
            for each in site.members
        ]
        edges += [Edge(before, each.name) for each in members if before is not None]
        after = [_room(AROUND[2], *lines[AROUND[2]], site.slo_s)] if AROUND[2] in lines else []
        edges += [Edge(each.name, last.name) for last in after for each in members]
        return Graph((*stages, *members, *after), tuple(edges), hop_s=self.way_s / _HOPS)


def as_deployed(graph: Graph, members: Iterable[str]) -> Graph:
    """Return a measured graph as the live controller may use it: the hardware that is written first, and no other.

    It cannot move a member to other hardware, and a live ensemble waits for every member that it asks. Raises
    ``Misconfigured`` where the graph does not have the pipeline's members.
    """
    missing = sorted(set(members) - set(graph.names))
    if missing:
        raise Misconfigured(
            f"the profile has no {', '.join(missing)}, only {', '.join(graph.names)} → run guidevane profile again"
        )
    stages = tuple(
        replace(each, hardware=each.hardware[:1], partitions=1 if each.name in AROUND else each.partitions)
        for each in graph.stages
    )
    return replace(graph, stages=stages, quorum={})


def _line(seen: Observation, together: Sequence[str], enough: int) -> tuple[float, float] | None:
    """Return the line of those who compute for a batch one after the other; ``None`` where one is hardly known."""
    lines = [seen.line(name) for name in together]
    known = [each for each in lines if each is not None and each.batches >= enough]
    if len(known) < len(lines):
        return None
    return sum(each.fixed_s for each in known), sum(each.per_row_s for each in known)


def _apart(a: float, b: float, share: float) -> bool:
    return abs(math.log(max(a, 1e-9) / max(b, 1e-9))) > math.log1p(share)


def _room(name: str, fixed_s: float, per_row_s: float, slo_s: float) -> Stage:
    # One partition: it has one replica in every plan.
    return Stage(name, (Hardware("default", _profile(fixed_s, per_row_s, slo_s), _ROOM_USD_PER_HOUR, 5.0),), 1)


def _profile(fixed_s: float, per_row_s: float, slo_s: float) -> Profile:
    """Return a line as a profile: of no batch that would take as long as the objective, for nobody may ask for it."""
    mean = 1 + _JITTER * math.sqrt(2 / math.pi)
    sizes = [2**power for power in range(MOST_BATCH.bit_length())]
    points = [(size, (fixed_s + per_row_s * size) / mean) for size in sizes]
    within = [(size, seconds) for size, seconds in points if seconds <= slo_s] or points[:1]
    return Profile(tuple(within), _JITTER)
