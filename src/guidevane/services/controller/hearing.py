"""What one instance of a room said in one telemetry event, as far as the controller steers by it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from guidevane.control.plant import Served
from guidevane.telemetry import names
from guidevane.telemetry.metrics import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guidevane.events import Histogram, Telemetry

V = TypeVar("V")

_NEEDED: Final = frozenset(
    {
        names.EVENTS_TOTAL, names.DECISIONS_TOTAL, names.LATE_TOTAL, names.DEAD_LETTERS_TOTAL, names.AGE_SECONDS,
        names.SERVED_BATCHES_TOTAL, names.SERVED_RECORDS_TOTAL, names.SERVED_SECONDS_TOTAL, names.MEMBER_IN_FLIGHT_ROWS,
        names.CONSUMER_LAG_RECORDS, names.FETCH_WAIT_SECONDS, names.MAX_BATCH, names.DEGRADE_LEVEL,
        names.LOOP_BUSY_SECONDS_TOTAL,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heard:
    """One telemetry event, and when it came by our own clock: rooms on other machines have others."""

    at_us: int
    interval_s: float
    counters: Mapping[str, list[tuple[Mapping[str, str], float]]]
    gauges: Mapping[str, list[tuple[Mapping[str, str], float]]]
    histograms: Mapping[str, list[tuple[Mapping[str, str], Histogram]]]

    @classmethod
    def of(cls, said: Telemetry, now_us: int) -> Heard:
        """Return what was said, without all that nothing is steered by."""
        return cls(
            now_us, said["interval_s"], _sorted(said["counters"]), _sorted(said["gauges"]), _sorted(said["histograms"])
        )


def served(new: Sequence[Heard], station: str, *with_it: str) -> tuple[Served, ...]:
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


def busy_share(heard: Sequence[Heard]) -> float | None:
    """Return what one process's loop did in each second, in seconds of CPU."""
    timed = [(each.interval_s, list(matching(each.counters, names.LOOP_BUSY_SECONDS_TOTAL))) for each in heard]
    known = [(interval_s, sum(values)) for interval_s, values in timed if values and interval_s > 0]
    found = sum(value for _, value in known) / sum(span for span, _ in known) if known else None
    return found if found is None or math.isfinite(found) else None


def total_of(new: Sequence[Heard], metric: str, **labels: str) -> int:
    """Return the increments of a counter, all that spoke together."""
    total = sum(value for heard in new for value in matching(heard.counters, metric, **labels))
    return int(total) if math.isfinite(total) else 0


def stages_of(heard: Heard) -> set[str]:
    """Return the stages that an instance counts events of."""
    return {labels["stage"] for labels, _ in heard.counters.get(names.EVENTS_TOTAL, ()) if "stage" in labels}


def matching(values: Mapping[str, list[tuple[Mapping[str, str], V]]], metric: str, **labels: str) -> Iterator[V]:
    """Return the values of a metric's series that carry these labels."""
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
