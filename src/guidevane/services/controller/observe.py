"""From telemetry to an observation: sums of counts and of buckets over a window, never percentiles of percentiles."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from guidevane.control.observation import HOT, MemberSeen, Observation, StageSeen
from guidevane.control.plant import Served
from guidevane.errors import Reject
from guidevane.services.controller.arrivals import Arrivals
from guidevane.services.controller.learning import Profiler
from guidevane.telemetry import names
from guidevane.telemetry.histogram import BUCKETS, merge, quantile
from guidevane.telemetry.metrics import Series
from guidevane.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guidevane.events import Control, Histogram, Telemetry
    from guidevane.services.controller.act import Standing

V = TypeVar("V")

WINDOW_S: Final = 10.0
SILENT_S: Final = 5.0
ACTOR: Final = "controller"
REPLICAS: Final = "replicas."
"""What a person writes in front of a member's name, on the control topic for inference, to set its replicas."""
_INPUTS: Final = {"preprocess": "accepted", "inference": "features", "postprocess": "predictions", "ingest": "events"}
_NEEDED: Final = frozenset(
    {
        names.EVENTS_TOTAL, names.DECISIONS_TOTAL, names.LATE_TOTAL, names.DEAD_LETTERS_TOTAL, names.AGE_SECONDS,
        names.SERVED_BATCHES_TOTAL, names.SERVED_RECORDS_TOTAL, names.SERVED_SECONDS_TOTAL, names.MEMBER_IN_FLIGHT_ROWS,
        names.CONSUMER_LAG_RECORDS, names.FETCH_WAIT_SECONDS, names.MAX_BATCH,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Heard:
    """One telemetry event, and when it came by our own clock: rooms on other machines have others."""

    at_us: int
    interval_s: float
    counters: Mapping[str, list[tuple[Mapping[str, str], float]]]
    gauges: Mapping[str, list[tuple[Mapping[str, str], float]]]
    histograms: Mapping[str, list[tuple[Mapping[str, str], Histogram]]]


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
        self._heard: dict[tuple[str, str], deque[_Heard]] = defaultdict(deque)
        self._new: list[_Heard] = []
        self._arrivals = Arrivals()
        self._looked_us: int | None = None

    def follow(self, said: Telemetry, now_us: int) -> None:
        """Take in what one instance said; other pipelines' are left out. Raises ``Reject`` for other buckets."""
        if said["pipeline"] != self._pipeline:
            return
        if any(len(each["buckets"]) != BUCKETS for each in said["histograms"].values()):
            raise Reject("buckets", f"{said['room']}/{said['instance']} runs a version with other histograms")
        heard = _Heard(
            now_us, said["interval_s"], _sorted(said["counters"]), _sorted(said["gauges"]), _sorted(said["histograms"])
        )
        self._heard[said["room"], said["instance"]].append(heard)
        self._new.append(heard)
        for each in said["arrivals"]:
            if each["stage"] == HOT[0]:
                self._arrivals.add(each["from_us"], each["events"])

    def observe(
        self,
        now_us: int,
        *,
        control: Mapping[str, Control],
        replicas: Mapping[str, Standing],
        paused: str = "",
        expected_per_s: float | None = None,
    ) -> Observation:
        """Return the pipeline as it is now: ``control`` is in force by room, ``replicas`` as Serve says by member."""
        self._forget(now_us)
        new, self._new = self._new, []
        stages = [each for name in HOT if (each := self._stage(name, control.get(name), new)) is not None]
        first = next((each for each in stages if each.name == HOT[0]), None)
        told = {} if (said := control.get("inference")) is None or said["actor"] == ACTOR else said["settings"]
        members = [
            self._deployment(name, together, replicas.get(name), told, new, now_us)
            for name, together in self._deployments.items()
        ]
        each_served = {name: _served(new, name) for together in self._deployments.values() for name in together}
        self.profiler.follow(stages, members, each_served, now_us / 1e6)
        interval_s = 0.0 if self._looked_us is None else (now_us - self._looked_us) / 1e6
        self._looked_us = now_us
        rate = first.rate_per_s if first is not None else None
        shed = _sum(new, names.DECISIONS_TOTAL, outcome="shed")
        dead = _sum(new, names.DEAD_LETTERS_TOTAL)
        ended = _sum(new, names.DECISIONS_TOTAL) + dead
        return Observation(
            at_us=now_us,
            pipeline=self._pipeline,
            interval_s=interval_s,
            counts=self._arrivals.since_last(now_us, None if first is None else first.lag_records, rate or 0.0),
            ended=ended,
            missed=min(_sum(new, names.LATE_TOTAL) + shed + dead, ended),
            shed=shed,
            stages=tuple(stages),
            members=tuple(members),
            lines=self.profiler.lines(),
            way_s=self.profiler.way_s,
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

    def _stage(self, name: str, control: Control | None, new: Sequence[_Heard]) -> StageSeen | None:
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
            served=_served(new, name),
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
        new: Sequence[_Heard],
        now_us: int,
    ) -> MemberSeen:
        """Return a deployment, whose replicas compute for each of its members, and are called once for all."""
        set_to = told.get(f"{REPLICAS}{name}")
        known = MemberSeen(
            name=name,
            served=_served(new, name, *(each for each in together if each != name)),
            waiting=self._gauge(names.MEMBER_IN_FLIGHT_ROWS, member=name),
            told=max(int(set_to), 0) if set_to is not None and math.isfinite(set_to) else None,
        )
        return known if standing is None else self.profiler.placed(known, standing, now_us / 1e6)

    def _rooms(self, stage: str) -> set[str]:
        """Return the rooms that host a stage: those that count under its name, and its own room before it counts."""
        return {room for (room, _), heard in self._heard.items() if room == stage or stage in _stages_of(heard[-1])}

    def _first_of(self, room: str) -> str:
        hosted = {room} | {
            stage for (name, _), heard in self._heard.items() if name == room for stage in _stages_of(heard[-1])
        }
        return next((name for name in HOT if name in hosted), room)

    def _running(self, stage: str, rooms: set[str], *, fetches: bool) -> Iterator[tuple[str, float]]:
        for setting, gauge, shown in (
            ("fetch_wait_s", names.FETCH_WAIT_SECONDS, fetches),
            ("max_batch", names.MAX_BATCH, stage == "inference"),
        ):
            for (room, _), heard in self._heard.items():
                if shown and room in rooms:
                    for value in _matching(heard[-1].gauges, gauge):
                        yield setting, value

    def _rate(self, metric: str, **labels: str) -> float | None:
        """Return increments a second, all instances together; ``None`` where nobody counts this."""
        total, known = 0.0, False
        for heard in self._heard.values():
            # An event without an interval (a room's first, or its clock was set back) has no rate.
            timed = [each for each in heard if each.interval_s > 0]
            counted = [value for each in timed for value in _matching(each.counters, metric, **labels)]
            if counted:
                known = True
                total += sum(counted) / sum(each.interval_s for each in timed)
        return total if known and math.isfinite(total) else None

    def _gauge(self, metric: str, **labels: str) -> float | None:
        values = [v for heard in self._heard.values() for v in _matching(heard[-1].gauges, metric, **labels)]
        total = sum(values)
        return total if values and math.isfinite(total) else None

    def _histogram(self, metric: str, **labels: str) -> Histogram:
        return merge(
            found
            for heard in self._heard.values()
            for each in heard
            for found in _matching(each.histograms, metric, **labels)
        )


def _served(new: Sequence[_Heard], station: str, *with_it: str) -> tuple[Served, ...]:
    """Return the batches that a station served, by size class: the mean size, the mean time, how many.

    Those ``with_it`` compute for the same batches, one after the other: their time counts as its own.
    """
    totals: dict[str, list[float]] = {}
    for at, metric in enumerate((names.SERVED_BATCHES_TOTAL, names.SERVED_RECORDS_TOTAL, names.SERVED_SECONDS_TOTAL)):
        counted = {station, *with_it} if metric == names.SERVED_SECONDS_TOTAL else {station}
        for heard in new:
            for labels, value in heard.counters.get(metric, ()):
                if labels.get("station") in counted and math.isfinite(value):
                    totals.setdefault(labels.get("size", ""), [0.0, 0.0, 0.0])[at] += value
    return tuple(
        Served(max(round(records / batches), 1), seconds / batches, int(batches))
        for batches, records, seconds in totals.values()
        if batches >= 1 and seconds > 0
    )


def _sum(new: Sequence[_Heard], metric: str, **labels: str) -> int:
    total = sum(value for heard in new for value in _matching(heard.counters, metric, **labels))
    return int(total) if math.isfinite(total) else 0


def _stages_of(heard: _Heard) -> set[str]:
    return {labels["stage"] for labels, _ in heard.counters.get(names.EVENTS_TOTAL, ()) if "stage" in labels}


def _matching(values: Mapping[str, list[tuple[Mapping[str, str], V]]], metric: str, **labels: str) -> Iterator[V]:
    for found, value in values.get(metric, ()):
        if labels.items() <= found.items():
            yield value


def _sorted(values: Mapping[str, V]) -> dict[str, list[tuple[Mapping[str, str], V]]]:
    """Return what is steered by, by metric; the rest, most of it, is left out."""
    found: dict[str, list[tuple[Mapping[str, str], V]]] = {}
    for key, value in values.items():
        name, labels = _read(key)
        if name in _NEEDED:
            found.setdefault(name, []).append((labels, value))
    return found


@lru_cache(maxsize=4096)
def _read(key: str) -> tuple[str, Mapping[str, str]]:
    series = Series.of(key)
    return series.name, dict(series.labels)
