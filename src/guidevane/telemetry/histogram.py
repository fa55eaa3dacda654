"""Distributions over fixed buckets, filled by the batch.

Every histogram of the platform has the same buckets, so that those of all instances add up
and a percentile is taken of the sum, never of percentiles.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import numpy as np

from guidevane.events import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_PER_DECADE: Final = 8
_FIRST: Final = -5
_LAST: Final = 4

BOUNDS: Final[NDArray[np.float64]] = np.array(
    [float(f"{10 ** (_FIRST + i / _PER_DECADE):.3g}") for i in range((_LAST - _FIRST) * _PER_DECADE + 1)],
)
"""Upper bounds, inclusive: 10 µs to 10,000 s (or 10,000 records), eight to the decade, three digits each."""
BOUNDS.setflags(write=False)
BUCKETS: Final = len(BOUNDS) + 1
"""One more than the bounds: the last bucket holds what is larger than all of them."""
_BOUND_LIST: Final[list[float]] = BOUNDS.tolist()


def bucket_of(value: float) -> int:
    """Return the bucket of one value.

    >>> bucket_of(0.0), bucket_of(1e-5), bucket_of(1e9) == BUCKETS - 1
    (0, 0, True)
    """
    return bisect_left(_BOUND_LIST, value)


def fill(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many of ``values`` (any length) fall into each of the ``BUCKETS`` buckets.

    >>> int(fill(np.array([0.001, 0.2, 0.2])).sum())
    3
    """
    return np.bincount(BOUNDS.searchsorted(values), minlength=BUCKETS)


def quantile(buckets: Sequence[int] | NDArray[np.int64], p: float) -> float | None:
    """Estimate the ``p`` quantile (0-1), interpolating in the logarithm; wrong by at most one bucket (a third).

    ``None`` where nothing was observed: no data is not zero. Infinite where it lies beyond the last bound.

    >>> quantile(fill(np.full(100, 0.0105)), 0.5) <= 0.0133
    True
    >>> quantile([0] * BUCKETS, 0.99) is None
    True
    """
    heights = np.cumsum(buckets)
    total = int(heights[-1])
    if total == 0:
        return None
    rank = max(p * total, 1.0)
    at = int(heights.searchsorted(rank - 1e-9))
    if at == BUCKETS - 1:
        return math.inf
    if at == 0:
        return _BOUND_LIST[0]
    below = int(heights[at - 1])
    share = (rank - below) / (int(heights[at]) - below)
    low, high = _BOUND_LIST[at - 1], _BOUND_LIST[at]
    return float(low * (high / low) ** share)


def share_above(buckets: Sequence[int] | NDArray[np.int64], value: float) -> float | None:
    """Return the share of observations above ``value``, 0-1, counted from the next bound up; ``None`` where none.

    >>> share_above(fill(np.array([0.1, 0.1, 0.9, 0.9])), 0.25)
    0.5
    """
    counts = np.asarray(buckets)
    total = int(counts.sum())
    return int(counts[bucket_of(value) + 1 :].sum()) / total if total else None


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of histograms; of none, an empty one.

    >>> merge([])["count"]
    0
    """
    count, total = 0, 0.0
    buckets = np.zeros(BUCKETS, np.int64)
    for each in histograms:
        count += each["count"]
        total += each["sum"]
        buckets += np.asarray(each["buckets"], np.int64)
    return Histogram(count=count, sum=total, buckets=buckets.tolist())
