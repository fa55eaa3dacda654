"""From telemetry to an observation: sums of counts and of buckets over a window, never percentiles of percentiles."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from guidevane.control.observation import HOT, MemberSeen, Observation, RoomSeen, StageSeen
from guidevane.control.staffing import CONSUMERS
from guidevane.errors import Reject
from guidevane.services.controller.arrivals import Arrivals, Heaps
from guidevane.services.controller.hearing import Heard, busy_share, matching, served, stages_of, total_of
from guidevane.services.controller.learning import Profiler
from guidevane.telemetry import names
from guidevane.telemetry.histogram import BUCKETS, merge, quantile
from guidevane.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guidevane.events import Control, Histogram, Telemetry
    from guidevane.services.controller.act import Standing

WINDOW_S: Final = 10.0
SILENT_S: Final = 5.0
ACTOR: Final = "controller"
REPLICAS: Final = "replicas."
"""What a person writes in front of a member's name, on the control topic for inference, to set its replicas."""
_INPUTS: Final = {"preprocess": "accepted", "inference": "features", "postprocess": "predictions", "ingest": "events"}


class Window:
    """What the instances of one pipeline said over the last ``WINDOW_S``; who is silent for ``SILENT_S`` is gone.

    Each observation also has what came since the one before it.
    """

    def __init__(
        self, pipeline: str, deployments: Mapping[str, Sequence[str]], profiler: Profiler | None = None
    ) -> None:
        self._pipeline = pipeline
        self._deployments = deployments
        self.profiler = profiler or Profiler()
        self._heard: dict[tuple[str, str], deque[Heard]] = defaultdict(deque)
        self._new: list[Heard] = []
        self._arrivals, self._heaps = Arrivals(), Heaps()
        self._looked_us: int | None = None

    def follow(self, said: Telemetry, now_us: int) -> None:
        """Take in what one instance said; other pipelines' are left out. Raises ``Reject`` for other buckets."""
        if said["pipeline"] != self._pipeline:
            return
        if any(len(each["buckets"]) != BUCKETS for each in said["histograms"].values()):
            raise Reject("buckets", f"{said['room']}/{said['instance']} runs a version with other histograms")
        heard = Heard.of(said, now_us)
        self._heard[said["room"], said["instance"]].append(heard)
        self._new.append(heard)
        for each in said["arrivals"]:
            if each["stage"] == HOT[0]:
                self._arrivals.add(each["from_us"], each["events"])
        for each in said["arrivals_by_tenth"]:
            if each["stage"] == HOT[0]:
                self._heaps.add(each["from_us"], each["events"])

    def restart(self) -> None:
        """Count from now on: what came while nobody listened was not heard, and is not nothing."""
        self._arrivals, self._heaps = Arrivals(), Heaps()
        self._new, self._looked_us = [], None

    def observe(
        self,
        now_us: int,
        *,
        control: Mapping[str, Control],
        replicas: Mapping[str, Standing],
        consumers: Mapping[str, int] = MappingProxyType({}),
        paused: str = "",
        expected_per_s: float | None = None,
    ) -> Observation:
        """Return the pipeline as it is now.

        ``control`` is in force by room, ``replicas`` as Serve says by member, ``consumers`` by room as whoever runs the
        rooms says.
        """
        self._forget(now_us)
        new, self._new = self._new, []
        stages = [each for name in HOT if (each := self._stage(name, control.get(name), new)) is not None]
        first = next((each for each in stages if each.name == HOT[0]), None)
        told = {} if (said := control.get("inference")) is None or said["actor"] == ACTOR else said["settings"]
        members = [
            self._deployment(name, together, replicas.get(name), told, new, now_us)
            for name, together in self._deployments.items()
        ]
        each_served = {name: served(new, name) for together in self._deployments.values() for name in together}
        self.profiler.follow(stages, members, each_served, now_us / 1e6)
        interval_s = 0.0 if self._looked_us is None else (now_us - self._looked_us) / 1e6
        self._looked_us = now_us
        rate = first.rate_per_s if first is not None else None
        shed = total_of(new, names.DECISIONS_TOTAL, outcome="shed")
        dead = total_of(new, names.DEAD_LETTERS_TOTAL)
        ended = total_of(new, names.DECISIONS_TOTAL) + dead
        return Observation(
            at_us=now_us,
            pipeline=self._pipeline,
            interval_s=interval_s,
            counts=self._arrivals.since_last(now_us, None if first is None else first.lag_records, rate or 0.0),
            tenths=self._heaps.since_last(now_us),
            ended=ended,
            missed=min(total_of(new, names.LATE_TOTAL) + shed + dead, ended),
            shed=shed,
            degraded=sum(total_of(new, names.DECISIONS_TOTAL, outcome=each) for each in ("degraded", "fallback")),
            stages=tuple(stages),
            members=tuple(members),
            rooms=tuple(self._hosts(control, consumers)),
            lines=self.profiler.lines(),
            way_s=self.profiler.way_s,
            usual_p99_s=self.profiler.usual_p99_s,
            expected_per_s=rate if expected_per_s is None else expected_per_s,
            missing=tuple(name for name in HOT if name not in {each.name for each in stages}),
            paused=paused,
        )

    def _forget(self, now_us: int) -> None:
        for key, heard in list(self._heard.items()):
            if now_us - heard[-1].at_us > SILENT_S * 1e6:
                del self._heard[key]
                continue
            while now_us - heard[0].at_us > WINDOW_S * 1e6:
                heard.popleft()

    def _stage(self, name: str, control: Control | None, new: Sequence[Heard]) -> StageSeen | None:
        rooms = self._rooms(name)
        if not rooms:
            return None
        ages = self._histogram(names.AGE_SECONDS, stage=name)
        fetches = any(self._first_of(room) == name for room in rooms)
        ours = control is None or control["actor"] == ACTOR
        running = dict(self._running(name, rooms, fetches=fetches))
        return StageSeen(
            name=name,
            fetches=fetches,
            records=ages["count"],
            rate_per_s=self._rate(names.EVENTS_TOTAL, stage=name),
            lag_records=self._gauge(names.CONSUMER_LAG_RECORDS, topic=getattr(Topics(self._pipeline), _INPUTS[name])),
            age_p50_s=quantile(ages["buckets"], 0.5),
            age_p99_s=quantile(ages["buckets"], 0.99),
            served=served(new, name),
            running=running,
            # What rooms started with is in force until the control topic says otherwise.
            settings={**running, **({} if control is None else control["settings"])},
            settings_by="" if ours or control is None else control["actor"],
        )

    def _deployment(
        self,
        name: str,
        together: Sequence[str],
        standing: Standing | None,
        told: Mapping[str, float],
        new: Sequence[Heard],
        now_us: int,
    ) -> MemberSeen:
        """Return a deployment, whose replicas compute for each of its members, and are called once for all."""
        set_to = told.get(f"{REPLICAS}{name}")
        known = MemberSeen(
            name=name,
            served=served(new, name, *(each for each in together if each != name)),
            waiting=self._gauge(names.MEMBER_IN_FLIGHT_ROWS, member=name),
            told=max(int(set_to), 0) if set_to is not None and math.isfinite(set_to) else None,
        )
        return known if standing is None else self.profiler.placed(known, standing, now_us / 1e6)

    def hosts(self) -> tuple[str, ...]:
        """Return the rooms of the hot path that say something of themselves."""
        return tuple(sorted({room for stage in HOT for room in self._rooms(stage)}))

    def _hosts(self, control: Mapping[str, Control], consumers: Mapping[str, int]) -> Iterator[RoomSeen]:
        for name in self.hosts():
            heard = [each for (room, _), each in self._heard.items() if room == name]
            said = control.get(name)
            told = None if said is None else said["settings"].get(CONSUMERS)
            busy = [share for each in heard if (share := busy_share(each)) is not None]
            yield RoomSeen(
                name=name,
                heard=len(heard),
                # Who does not say it is taken to be as busy as the others.
                busy=sum(busy) / len(busy) * len(heard) if busy else None,
                wanted=consumers.get(name),
                told=max(int(told), 1) if told is not None and math.isfinite(told) else None,
                told_by="" if said is None or said["actor"] == ACTOR else said["actor"],
            )

    def _rooms(self, stage: str) -> set[str]:
        """Return the rooms that host a stage: those that count under its name, and its own room before it counts."""
        return {room for (room, _), heard in self._heard.items() if room == stage or stage in stages_of(heard[-1])}

    def _first_of(self, room: str) -> str:
        hosted = {room} | {
            stage for (name, _), heard in self._heard.items() if name == room for stage in stages_of(heard[-1])
        }
        return next((name for name in HOT if name in hosted), room)

    def _running(self, stage: str, rooms: set[str], *, fetches: bool) -> Iterator[tuple[str, float]]:
        for setting, gauge, shown in (
            ("fetch_wait_s", names.FETCH_WAIT_SECONDS, fetches),
            ("max_batch", names.MAX_BATCH, stage == "inference"),
            ("level", names.DEGRADE_LEVEL, stage == "inference"),
        ):
            for (room, _), heard in self._heard.items():
                if shown and room in rooms:
                    for value in matching(heard[-1].gauges, gauge):
                        yield setting, value

    def _rate(self, metric: str, **labels: str) -> float | None:
        """Return increments a second, all instances together; ``None`` where nobody counts this."""
        total, known = 0.0, False
        for heard in self._heard.values():
            # An event without an interval (a room's first, or its clock was set back) has no rate.
            timed = [each for each in heard if each.interval_s > 0]
            counted = [value for each in timed for value in matching(each.counters, metric, **labels)]
            if counted:
                known = True
                total += sum(counted) / sum(each.interval_s for each in timed)
        return total if known and math.isfinite(total) else None

    def _gauge(self, metric: str, **labels: str) -> float | None:
        values = [v for heard in self._heard.values() for v in matching(heard[-1].gauges, metric, **labels)]
        total = sum(values)
        return total if values and math.isfinite(total) else None

    def _histogram(self, metric: str, **labels: str) -> Histogram:
        return merge(
            found
            for heard in self._heard.values()
            for each in heard
            for found in matching(each.histograms, metric, **labels)
        )
