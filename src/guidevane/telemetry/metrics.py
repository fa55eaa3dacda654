"""Counting: by declared name only, by the batch, at a cost that a hot path does not feel.

The numbers live here; :mod:`guidevane.telemetry.exposition` shows them to Prometheus, and
:meth:`Metrics.drain` gives the controller what happened since it was last asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import numpy as np

from guidevane.errors import Misconfigured
from guidevane.events import Histogram, Telemetry
from guidevane.telemetry.arrivals import Arrivals
from guidevane.telemetry.histogram import BUCKETS, bucket_of, fill
from guidevane.telemetry.names import DECLARED, Kind
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

MAX_SERIES: Final = 256
"""Series that one metric may have: what comes later is counted under ``other``."""
OTHER: Final = "other"


class Series(NamedTuple):
    """One metric with one set of label values, in the order in which the labels are declared."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Return the series' name on the wire.

        >>> Series("guidevane_events_total", (("stage", "ingest"), ("result", "out"))).key
        'guidevane_events_total|stage=ingest|result=out'
        """
        return "|".join([self.name, *(f"{label}={value}" for label, value in self.labels)])

    @classmethod
    def of(cls, key: str) -> Series:
        """Read a key back; any text gives some series.

        >>> Series.of("guidevane_replicas|member=deep").labels
        (('member', 'deep'),)
        """
        name, *labels = key.split("|")
        pairs = (each.partition("=") for each in labels)
        return cls(name, tuple((label, value) for label, _, value in pairs))


class Number:
    """What one counter or gauge series stands at."""

    __slots__ = ("series", "value")

    def __init__(self, series: Series) -> None:
        self.series = series
        self.value = 0.0


class Distribution:
    """What one histogram series has seen: observations by bucket, and their sum."""

    __slots__ = ("buckets", "series", "sum")

    def __init__(self, series: Series) -> None:
        self.series = series
        self.buckets: NDArray[np.int64] = np.zeros(BUCKETS, np.int64)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Take one value in."""
        value = max(value, 0.0)
        self.sum += value
        self.buckets[bucket_of(value)] += 1

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Take an array in."""
        counts, total = fill(values), float(np.add.reduce(values))
        # Only what fell into the first bucket can be negative, and hardly anything is that quick:
        # looking there first spares a pass over the values.
        if counts[0]:
            total = float(np.add.reduce(np.maximum(values, 0.0)))
        self.sum += total
        self.buckets += counts


class Seen(NamedTuple):
    """The standing of one histogram series: observations by bucket, and their sum."""

    buckets: NDArray[np.int64]
    sum: float


class Snapshot(NamedTuple):
    """All numbers of one moment, since the process began."""

    counters: dict[Series, float]
    gauges: dict[Series, float]
    histograms: dict[Series, Seen]


class Metrics:
    """All numbers of one instance of a room; safe to call from any thread.

    A name or a label that is not declared raises ``Misconfigured`` at once.

    >>> from guidevane.telemetry import names
    >>> metrics = Metrics("employment", "ingest", "0")
    >>> metrics.count(names.RETRIES_TOTAL, 2, stage="ingest")
    >>> metrics.drain(1_000_000)["counters"]
    {'guidevane_retries_total|stage=ingest': 2.0}
    >>> metrics.count(names.RETRIES_TOTAL, stages="ingest")
    Traceback (most recent call last):
    guidevane.errors.Misconfigured: guidevane_retries_total takes the labels (stage), got (stages)
    """

    def __init__(self, pipeline: str, room: str, instance: str) -> None:
        self.pipeline = pipeline
        self.room = room
        self.instance = instance
        self._lock = threading.Lock()
        self._counters = _Family[Number]("counter", Number)
        self._gauges = _Family[Number]("gauge", Number)
        self._histograms = _Family[Distribution]("histogram", Distribution)
        self._arrivals = Arrivals()
        self._drained = Snapshot({}, {}, {})
        self._since_us: int | None = None

    def count(self, name: str, n: float = 1, /, **labels: str) -> None:
        """Add ``n`` to a counter; 0 makes it visible."""
        with self._lock:
            self._counters.one(name, labels).value += n

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges.one(name, labels).value = float(value)

    def observe(self, name: str, values: float | NDArray[np.float64], /, **labels: str) -> None:
        """Add one value, or an array of them, to a histogram: about 6 µs a call and 20 ns a value.

        What is below zero (two machines' clocks) counts as zero; NaN and infinity count as larger than all bounds
        and make the sum useless, so they are the caller's to keep out.
        """
        with self._lock:
            seen = self._histograms.one(name, labels)
            if isinstance(values, np.ndarray):
                seen.add_all(values)
            else:
                seen.add(values)

    def arrive(self, stage: str, happened_us: NDArray[np.float64], now_us: int) -> None:
        """Count events by when they happened (:mod:`guidevane.telemetry.arrivals`); one at least."""
        with self._lock:
            self._arrivals.add(stage, happened_us, now_us)

    def snapshot(self) -> Snapshot:
        """Return a copy of all numbers as they are now."""
        with self._lock:
            return Snapshot(
                {each.series: each.value for each in self._counters.all},
                {each.series: each.value for each in self._gauges.all},
                {each.series: Seen(each.buckets.copy(), each.sum) for each in self._histograms.all},
            )

    def standing(self, name: str) -> list[tuple[Series, float]]:
        """Return all series of one counter or gauge with their values."""
        with self._lock:
            family = self._counters if DECLARED[name].kind == "counter" else self._gauges
            return [(each.series, each.value) for each in family.all if each.series.name == name]

    def begin(self, now_us: int) -> None:
        """Let the first interval begin now; without it, the first ``interval_s`` is 0: unknown."""
        self._since_us = now_us

    def drain(self, now_us: int) -> Telemetry:
        """Return what was added since the last call; counters that stood still are there as 0.

        ``interval_s`` is 0 where the beginning is not known or the clock was set back: such an event has no rates.
        """
        new, old = self.snapshot(), self._drained
        with self._lock:
            arrivals, tenths = self._arrivals.drain(), self._arrivals.drain_tenths()
        since_us = now_us if self._since_us is None else self._since_us
        self._drained, self._since_us = new, now_us
        histograms = {}
        for series, seen in new.histograms.items():
            before = old.histograms.get(series)
            buckets = seen.buckets if before is None else seen.buckets - before.buckets
            if count := int(buckets.sum()):
                total = seen.sum - (before.sum if before else 0.0)
                histograms[series.key] = Histogram(count=count, sum=total, buckets=buckets.tolist())
        return Telemetry(
            at_us=now_us,
            interval_s=max(now_us - since_us, 0) / 1e6,
            pipeline=self.pipeline,
            room=self.room,
            instance=self.instance,
            counters={series.key: value - old.counters.get(series, 0.0) for series, value in new.counters.items()},
            gauges={series.key: value for series, value in new.gauges.items()},
            histograms=histograms,
            arrivals=arrivals,
            arrivals_by_tenth=tenths,
        )


C = TypeVar("C", Number, Distribution)


class _Family(Generic[C]):
    """The series of one kind, found by the labels as they are given."""

    def __init__(self, kind: Kind, make: Callable[[Series], C]) -> None:
        self._kind = kind
        self._make: Callable[[Series], C] = make
        self._asked: dict[tuple[str, tuple[tuple[str, str], ...]], C] = {}
        self._series: dict[Series, C] = {}
        self._width: dict[str, int] = {}

    @property
    def all(self) -> Iterable[C]:
        return self._series.values()

    def one(self, name: str, labels: dict[str, str]) -> C:
        return self._asked.get((name, tuple(labels.items()))) or self._admit(name, labels)

    def _admit(self, name: str, labels: dict[str, str]) -> C:
        metric = DECLARED.get(name)
        if metric is None:
            known = [name for name, each in DECLARED.items() if each.kind == self._kind]
            raise Misconfigured(f"metric {name} is not declared in telemetry/names.py: {nearest(name, known)}")
        if metric.kind != self._kind:
            raise Misconfigured(f"{name} is a {metric.kind}, not a {self._kind}")
        if set(labels) != set(metric.labels):
            raise Misconfigured(f"{name} takes the labels ({', '.join(metric.labels)}), got ({', '.join(labels)})")
        # Label values may come from an author's code (the cause of a rejection), so neither their
        # text nor their number is trusted: names built from event data must not grow without end.
        series = Series(name, tuple((label, str(labels[label]).replace("|", "/")) for label in metric.labels))
        if series not in self._series:
            if self._width.get(name, 0) >= MAX_SERIES:
                series = Series(name, tuple((label, OTHER) for label in metric.labels))
                return self._series.setdefault(series, self._make(series))
            self._width[name] = self._width.get(name, 0) + 1
        found = self._series.setdefault(series, self._make(series))
        self._asked[name, tuple(labels.items())] = found
        return found
