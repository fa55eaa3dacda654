"""From telemetry to an observation: sums of counts and of buckets over a window, never percentiles of percentiles."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from guidevane.control.observation import HOT, MemberSeen, Observation, StageSeen
from guidevane.errors import Reject
from guidevane.telemetry import names
from guidevane.telemetry.histogram import BUCKETS, merge, quantile
from guidevane.telemetry.metrics import Series
from guidevane.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guidevane.events import Control, Histogram, Telemetry

V = TypeVar("V")

WINDOW_S: Final = 10.0
SILENT_S: Final = 5.0
ACTOR: Final = "controller"
_INPUTS: Final = {"preprocess": "accepted", "inference": "features", "postprocess": "predictions", "ingest": "events"}


@dataclass(frozen=True, slots=True)
class _Heard:
    """One telemetry event, and when it came by our own clock: rooms on other machines have others."""

    at_us: int
    said: Telemetry


class Window:
    """What the instances of one pipeline said over the last ``WINDOW_S``; who is silent for ``SILENT_S`` is gone."""

    def __init__(self, pipeline: str, deployments: Mapping[str, Sequence[str]]) -> None:
        self._pipeline = pipeline
        self._deployments = deployments
        self._heard: dict[tuple[str, str], deque[_Heard]] = defaultdict(deque)

    def follow(self, said: Telemetry, now_us: int) -> None:
        """Take in what one instance said; other pipelines' are left out. Raises ``Reject`` for other buckets."""
        if said["pipeline"] == self._pipeline:
            if any(len(each["buckets"]) != BUCKETS for each in said["histograms"].values()):
                raise Reject("buckets", f"{said['room']}/{said['instance']} runs a version with other histograms")
            self._heard[said["room"], said["instance"]].append(_Heard(now_us, said))

    def observe(
        self,
        now_us: int,
        *,
        control: Mapping[str, Control],
        replicas: Mapping[str, int],
        paused: str = "",
    ) -> Observation:
        """Return the pipeline as it is now: ``control`` is in force by room, ``replicas`` wanted by member."""
        self._forget(now_us)
        stages = [each for name in HOT if (each := self._stage(name, control.get(name))) is not None]
        seen = {each.name for each in stages}
        return Observation(
            at_us=now_us,
            pipeline=self._pipeline,
            stages=tuple(stages),
            members=tuple(
                self._deployment(name, together, replicas.get(name)) for name, together in self._deployments.items()
            ),
            missing=tuple(name for name in HOT if name not in seen),
            paused=paused,
        )

    def _forget(self, now_us: int) -> None:
        for key, heard in list(self._heard.items()):
            if now_us - heard[-1].at_us > SILENT_S * 1e6:
                del self._heard[key]
                continue
            while now_us - heard[0].at_us > WINDOW_S * 1e6:
                heard.popleft()

    def _stage(self, name: str, control: Control | None) -> StageSeen | None:
        rooms = self._rooms(name)
        if not rooms:
            return None
        ages = self._histogram(names.AGE_SECONDS, stage=name)
        durations = self._histogram(names.STAGE_DURATION_SECONDS, stage=name)
        service = self._histogram(names.HANDLE_DURATION_SECONDS, stage=name)
        batches = self._histogram(names.BATCH_SIZE, stage=name)
        ours = control is None or control["actor"] == ACTOR
        fetches = any(self._first_of(room) == name for room in rooms)
        # What rooms started with is in force until the control topic says otherwise.
        settings = dict(self._started_with(name, rooms, fetches=fetches))
        settings.update({} if control is None else control["settings"])
        return StageSeen(
            name=name,
            fetches=fetches,
            records=ages["count"],
            rate_per_s=self._rate(names.EVENTS_TOTAL, stage=name),
            lag_records=self._gauge(names.CONSUMER_LAG_RECORDS, topic=getattr(Topics(self._pipeline), _INPUTS[name])),
            age_p50_s=quantile(ages["buckets"], 0.5),
            age_p99_s=quantile(ages["buckets"], 0.99),
            duration_p50_s=quantile(durations["buckets"], 0.5),
            duration_p99_s=quantile(durations["buckets"], 0.99),
            batch=_mean(batches),
            service_s=_mean(service),
            settings=settings,
            settings_by="" if ours or control is None else control["actor"],
        )

    def _deployment(self, name: str, together: Sequence[str], replicas: int | None) -> MemberSeen:
        """Return a deployment, whose replicas compute for each of its members, and are called once for all."""
        busy = [self._rate(names.MEMBER_BUSY_SECONDS_TOTAL, member=each) for each in together]
        return MemberSeen(
            name=name,
            busy=None if None in busy else sum(each for each in busy if each is not None),
            rows_per_s=self._rate(names.MEMBER_ROWS_TOTAL, member=name),
            calls_per_s=self._rate(names.MEMBER_CALLS_TOTAL, member=name),
            duration_p99_s=quantile(self._histogram(names.MEMBER_DURATION_SECONDS, member=name)["buckets"], 0.99),
            replicas=replicas,
        )

    def _rooms(self, stage: str) -> set[str]:
        """Return the rooms that host a stage: those that count under its name, and its own room before it counts."""
        return {
            room for (room, _), heard in self._heard.items() if room == stage or stage in _stages_of(heard[-1].said)
        }

    def _first_of(self, room: str) -> str:
        hosted = {room} | {
            stage for (name, _), heard in self._heard.items() if name == room for stage in _stages_of(heard[-1].said)
        }
        return next((name for name in HOT if name in hosted), room)

    def _started_with(self, stage: str, rooms: set[str], *, fetches: bool) -> Iterator[tuple[str, float]]:
        for setting, gauge, shown in (
            ("fetch_wait_s", names.FETCH_WAIT_SECONDS, fetches),
            ("max_batch", names.MAX_BATCH, stage == "inference"),
        ):
            for (room, _), heard in self._heard.items():
                if shown and room in rooms and gauge in heard[-1].said["gauges"]:
                    yield setting, heard[-1].said["gauges"][gauge]

    def _rate(self, metric: str, **labels: str) -> float | None:
        """Return increments a second, all instances together; ``None`` where nobody counts this."""
        total, known = 0.0, False
        for heard in self._heard.values():
            # An event without an interval (a room's first, or its clock was set back) has no rate.
            timed = [each.said for each in heard if each.said["interval_s"] > 0]
            counted = [value for said in timed for value in _matching(said["counters"], metric, labels)]
            if counted:
                known = True
                total += sum(counted) / sum(said["interval_s"] for said in timed)
        return total if known and math.isfinite(total) else None

    def _gauge(self, metric: str, **labels: str) -> float | None:
        values = [v for heard in self._heard.values() for v in _matching(heard[-1].said["gauges"], metric, labels)]
        total = sum(values)
        return total if values and math.isfinite(total) else None

    def _histogram(self, metric: str, **labels: str) -> Histogram:
        return merge(
            found
            for heard in self._heard.values()
            for each in heard
            for found in _matching(each.said["histograms"], metric, labels)
        )


def _stages_of(said: Telemetry) -> set[str]:
    found = (Series.of(key) for key in said["counters"])
    return {dict(each.labels)["stage"] for each in found if each.name == names.EVENTS_TOTAL}


def _matching(values: Mapping[str, V], metric: str, labels: Mapping[str, str]) -> Iterator[V]:
    for key, value in values.items():
        # Most keys are of another metric: telling so by the text spares the reading.
        if key.startswith(metric):
            series = Series.of(key)
            if series.name == metric and labels.items() <= dict(series.labels).items():
                yield value


def _mean(histogram: Histogram) -> float | None:
    return histogram["sum"] / histogram["count"] if histogram["count"] else None
