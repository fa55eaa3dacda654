"""What a profile is learned from: how long batches took, by their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.telemetry import names

if TYPE_CHECKING:
    from guidevane.telemetry.metrics import Metrics


def size_class(records: int) -> str:
    """Return the smallest power of two that is not below the size of a batch.

    >>> [size_class(records) for records in (1, 2, 3, 64, 65)]
    ['1', '2', '4', '64', '128']
    """
    return str(1 << (records - 1).bit_length())


def served(metrics: Metrics, station: str, records: int, seconds: float) -> None:
    """Count one batch that a stage's handler or a member's replica served."""
    size = size_class(records)
    metrics.count(names.SERVED_BATCHES_TOTAL, station=station, size=size)
    metrics.count(names.SERVED_RECORDS_TOTAL, records, station=station, size=size)
    metrics.count(names.SERVED_SECONDS_TOTAL, seconds, station=station, size=size)
