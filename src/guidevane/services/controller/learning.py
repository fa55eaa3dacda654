"""What live batches teach: latency against batch size of each station, how long launches take, the unexplained way."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Protocol

from guidevane.control.line import Line
from guidevane.control.observation import HOT, LineSeen
from guidevane.control.waiting import FETCH_WAIT, median_wait_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.control.observation import MemberSeen, StageSeen
    from guidevane.control.plant import Served
    from guidevane.services.controller.act import Standing

_STATIONS = ("ingest", "preprocess", "postprocess")
_SURE, _SURE_S = 400.0, 300.0
"""Batches and seconds after which a line is taken as the reference that later ones are held against."""
_FORGET_WAY = 1.002
_ENOUGH = 20
_USUAL = 60
"""Looks, one a second, whose percentiles' median is taken for the usual: a start or a jump is over sooner."""
_SLOWEST_START_S = 600.0


class Detector(Protocol):
    """Notices that a mean between 0 and 1 has changed: River's ADWIN, behind ``guidevane.monitors.adwin``."""

    def update(self, value: float) -> object | None:
        """Take a value; return something where the mean changed."""
        ...


@dataclass(slots=True)
class _Station:
    """One station's line; and whether its model became another: the residual against an earlier line, watched."""

    detector: Detector | None
    line: Line = field(default_factory=Line)
    reference: Line | None = None
    changes: int = 0
    since_s: float | None = None

    def follow(self, served: Sequence[Served], now_s: float) -> None:
        self.since_s = now_s if self.since_s is None else self.since_s
        for each in served:
            self._watch(each)
            self.line = self.line.learn(each.batch, each.mean_s, each.count)
        if self.reference is None and self.line.batches >= _SURE and now_s - self.since_s >= _SURE_S:
            self.reference = self.line

    def _watch(self, served: Served) -> None:
        if self.reference is None or self.detector is None:
            return
        # At equal batches, so that more traffic, which makes larger batches, changes nothing here.
        residual = math.log(served.mean_s / self.reference.latency_s(served.batch))
        if self.detector.update(min(max(0.5 + residual / 4, 0.0), 1.0)) is not None:
            self.changes += 1
            self.line, self.reference, self.since_s = self.line.doubted(), None, None


class Profiler:
    """Learns as long as it is told.

    ``watcher`` makes a detector for each station. It may come later: until then changes are followed, and not
    noticed.
    """

    def __init__(self, watcher: Callable[[], Detector] | None = None) -> None:
        self.watcher = watcher
        self.way_s: float | None = None
        self._p99s: deque[float] = deque(maxlen=_USUAL)
        self._stations: dict[str, _Station] = {}
        self._starting: dict[tuple[str, str], float] = {}
        self._startup_s: dict[str, float] = {}

    def follow(
        self,
        stages: Sequence[StageSeen],
        members: Sequence[MemberSeen],
        served: Mapping[str, Sequence[Served]],
        now_s: float,
    ) -> None:
        """Take in what each member (``served``) and stage served lately, and how long events are under way."""
        around = {each.name: each.served for each in stages if each.name in _STATIONS}
        for name, batches in (around | dict(served)).items():
            if batches:
                self._station(name).follow(batches, now_s)
        self._follow_way(stages, members)

    @property
    def usual_p99_s(self) -> float | None:
        """Return the 99th percentile of ages that most of the last looks had at least; none before the first."""
        return median(self._p99s) if self._p99s else None

    @property
    def sure(self) -> bool:
        """Whether some station is known so well that a change of it could be noticed."""
        return any(each.reference is not None for each in self._stations.values())

    def lines(self) -> tuple[LineSeen, ...]:
        """Return what is believed of each station that served anything."""
        return tuple(
            LineSeen(
                name=name, fixed_s=each.line.fixed_s, per_row_s=each.line.per_row_s, batches=each.line.batches,
                changes=each.changes,
            )
            for name, each in self._stations.items()
        )  # fmt: skip

    def placed(self, member: MemberSeen, standing: Standing, now_s: float) -> MemberSeen:
        """Return a member with what Serve says of its replicas; a launch that ended tells how long one takes."""
        for replica in standing.ready:
            launched_s = self._starting.pop((member.name, replica), None)
            if launched_s is not None and 0 < now_s - launched_s < _SLOWEST_START_S:
                self._startup_s[member.name] = now_s - launched_s
        self._starting.update({(member.name, replica): at for replica, at in standing.starting.items()})
        return replace(
            member,
            replicas=standing.wanted,
            ready=len(standing.ready),
            starting=tuple(sorted(standing.starting.values())),
            startup_s=self._startup_s.get(member.name),
        )

    def _station(self, name: str) -> _Station:
        if name not in self._stations:
            self._stations[name] = _Station(None)
        found = self._stations[name]
        if found.detector is None and self.watcher is not None:
            found.detector = self.watcher()
        return found

    def _follow_way(self, stages: Sequence[StageSeen], members: Sequence[MemberSeen]) -> None:
        """Follow the least of the median ages, less services and fetch waits: what is left when nobody queues."""
        last = next((each for each in stages if each.name == HOT[-1]), None)
        if last is None or last.age_p50_s is None or last.records < _ENOUGH:
            return
        if last.age_p99_s is not None:
            self._p99s.append(last.age_p99_s)
        service_s = sum(_mean_s(each.served) for each in stages if each.name in _STATIONS)
        service_s += max((_mean_s(each.served) for each in members), default=0.0)
        # Only the first room waits for company: the others read what has come together there.
        first = next((each for each in stages if each.fetches), None)
        wait_s = median_wait_s(first.running.get(FETCH_WAIT, 0.0), first.rate_per_s) if first is not None else 0.0
        way_s = max(last.age_p50_s - service_s - wait_s, 0.001)
        self.way_s = way_s if self.way_s is None else min(way_s, self.way_s * _FORGET_WAY)


def _mean_s(served: Sequence[Served]) -> float:
    count = sum(each.count for each in served)
    return sum(each.mean_s * each.count for each in served) / count if count else 0.0
