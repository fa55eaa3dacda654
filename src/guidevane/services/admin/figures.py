"""Rates and percentiles out of telemetry: sums of counts and of buckets, never percentiles of percentiles."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from guidevane.services.admin.views import EndToEnd, Member, Percentiles, Room, Stage
from guidevane.telemetry import names
from guidevane.telemetry.histogram import BOUNDS, BUCKETS, merge, quantile, share_above
from guidevane.telemetry.metrics import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guidevane.events import Histogram, Telemetry

WINDOW_S = 15.0
SILENT_S = 10.0
_FORGET_S = 3600.0
_MOST_INSTANCES = 512
_MOST_INTERVALS = 64


class Figures:
    """The telemetry of one pipeline's rooms over the last ``WINDOW_S`` seconds."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], deque[Telemetry]] = {}

    def follow(self, telemetry: Telemetry) -> None:
        """Take in what one instance did in one interval."""
        key = telemetry["room"], telemetry["instance"]
        # The one heard of last stands last, so that the first is the one to forget.
        intervals = self._heard.pop(key, None) or deque(maxlen=_MOST_INTERVALS)
        intervals.append(telemetry)
        self._heard[key] = intervals
        while len(self._heard) > _MOST_INSTANCES:
            del self._heard[next(iter(self._heard))]

    def rooms(self, now_us: int) -> list[Room]:
        """Return every instance that was heard of in the last hour."""
        ages = {key: max(now_us - each[-1]["at_us"], 0) / 1e6 for key, each in self._heard.items()}
        return [
            Room(room=room, instance=instance, heard_s=age, silent=age > SILENT_S)
            for (room, instance), age in sorted(ages.items())
            if age <= _FORGET_S
        ]

    def rates(self, name: str, label: str, now_us: int) -> dict[str, float]:
        """Return increments a second of a counter by one of its labels, all instances together."""
        found: dict[str, float] = defaultdict(float)
        for series, rate in self._rates(name, now_us):
            found[dict(series.labels).get(label, "")] += rate
        return dict(found)

    def total(self, name: str, now_us: int) -> float:
        """Return increments a second of a counter, over all its labels."""
        return sum(rate for _, rate in self._rates(name, now_us))

    def gauges(self, name: str, label: str, now_us: int, *, most: bool = False) -> dict[str, float]:
        """Return the sum over instances, or the ``most``, of the last values of a gauge, by one of its labels."""
        found: dict[str, float] = defaultdict(float)
        for intervals in self._recent(now_us):
            for key, value in intervals[-1]["gauges"].items():
                series = Series.of(key)
                if series.name == name:
                    of = dict(series.labels).get(label, "")
                    found[of] = max(found.get(of, value), value) if most else found[of] + value
        return dict(found)

    def percentiles(self, name: str, now_us: int, **labels: str) -> Percentiles | None:
        """Return a histogram's percentiles; ``None`` where nothing was observed: no data is not zero."""
        merged = self._merged(name, now_us, labels)
        return None if merged is None else Percentiles(count=merged["count"], **_points(merged))

    def end_to_end(self, within_ms: float, now_us: int) -> EndToEnd | None:
        """Return how long decisions took, and the share that took longer than ``within_ms``."""
        merged = self._merged(names.AGE_SECONDS, now_us, {"stage": "postprocess"})
        if merged is None:
            return None
        late = share_above(merged["buckets"], within_ms / 1000) or 0.0
        return EndToEnd(count=merged["count"], late_share=late, **_points(merged))

    def stages(self, now_us: int) -> list[Stage]:
        """Return every stage that is told of, in the order in which they were first heard of."""
        rates: dict[str, dict[str, float]] = {}
        for series, rate in self._rates(names.EVENTS_TOTAL, now_us):
            labels = dict(series.labels)
            results = rates.setdefault(labels.get("stage", ""), {})
            result = labels.get("result", "")
            results[result] = results.get(result, 0.0) + rate
        return [
            Stage(
                stage=stage,
                per_s=results,
                duration=self.percentiles(names.STAGE_DURATION_SECONDS, now_us, stage=stage),
                age=self.percentiles(names.AGE_SECONDS, now_us, stage=stage),
            )
            for stage, results in rates.items()
        ]

    def members(self, models: Mapping[str, str], last: Mapping[str, str], now_us: int) -> list[Member]:
        """Return the members named in ``models``; ``last`` has the versions that made the last decision."""
        rows = self.rates(names.MEMBER_ROWS_TOTAL, "member", now_us)
        failures = self.rates(names.MEMBER_FAILURES_TOTAL, "member", now_us)
        replicas = self.gauges(names.REPLICAS, "member", now_us)
        live: dict[str, set[str]] = defaultdict(set)
        for series, rate in self._rates(names.MEMBER_ROWS_TOTAL, now_us):
            labels = dict(series.labels)
            if rate > 0:
                live[labels.get("member", "")].add(labels.get("version", ""))
        return [
            Member(
                name=name,
                model=model,
                versions=sorted(live[name]) or ([last[name]] if name in last else []),
                replicas=replicas.get(name),
                rows_per_s=rows.get(name, 0.0),
                failures_per_s=failures.get(name, 0.0),
                duration=self.percentiles(names.MEMBER_DURATION_SECONDS, now_us, member=name),
            )
            for name, model in models.items()
        ]

    def _recent(self, now_us: int) -> Iterator[list[Telemetry]]:
        since_us = now_us - int(WINDOW_S * 1e6)
        for intervals in self._heard.values():
            if recent := [each for each in intervals if each["at_us"] > since_us]:
                yield recent

    def _rates(self, name: str, now_us: int) -> Iterator[tuple[Series, float]]:
        for intervals in self._recent(now_us):
            seconds = sum(each["interval_s"] for each in intervals)
            added: dict[str, float] = defaultdict(float)
            for each in intervals:
                # An interval of unknown length has no rate: its counts would be spread over the others.
                if each["interval_s"] > 0:
                    for key, value in each["counters"].items():
                        if key.startswith(name):
                            added[key] += value
            for key, value in added.items():
                series = Series.of(key)
                if series.name == name:
                    yield series, value / seconds

    def _merged(self, name: str, now_us: int, labels: Mapping[str, str]) -> Histogram | None:
        wanted = labels.items()
        found: list[Histogram] = []
        for intervals in self._recent(now_us):
            for each in intervals:
                for key, histogram in each["histograms"].items():
                    series = Series.of(key) if key.startswith(name) else None
                    # Another version's buckets cannot be added to ours.
                    if series and series.name == name and wanted <= dict(series.labels).items():
                        found.extend([histogram] * (len(histogram["buckets"]) == BUCKETS))
        merged = merge(found)
        return merged if merged["count"] else None


def _points(histogram: Histogram) -> dict[str, float]:
    # What lies beyond the last bound is told as that bound: JSON has no infinity.
    last = float(BOUNDS[-1])
    points = {name: quantile(histogram["buckets"], p) for name, p in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    return {name: min(value or 0.0, last) * 1000 for name, value in points.items()}
