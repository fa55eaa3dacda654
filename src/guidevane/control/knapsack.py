"""Several pipelines on one fixed capacity: who gets how much, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def shares(misses: Sequence[Sequence[float]], capacity: int) -> tuple[int, ...]:
    """Return how many units of a capacity each pipeline gets, so that the sum of their misses is least.

    ``misses[j][k]``: what pipeline j misses (weighted events per second, say) with k units; infinite where
    k is too few to run at all. No more units than ``misses[j]`` has entries for, less one, are of use to j.
    Dynamic programming over pipelines, O(pipelines x capacity x units). Of equal sums, the one that
    leaves most units free. Raises ``ValueError`` where the capacity does not let all of them run.

    >>> shares([[9.0, 4.0, 1.0], [9.0, 0.0]], 2), shares([[9.0, 4.0, 1.0], [9.0, 0.0]], 3)
    ((1, 1), (2, 1))
    """
    best = np.zeros(capacity + 1)
    taken = []
    for table in misses:
        options = np.full((len(table), capacity + 1), np.inf)
        for units, miss in enumerate(table[: capacity + 1]):
            options[units, units:] = best[: capacity + 1 - units] + miss
        taken.append(options.argmin(axis=0))
        best = options.min(axis=0)
    if not np.isfinite(best[capacity]):
        raise ValueError(f"{capacity} units are too few for {len(misses)} pipelines to run at all")
    left = int(best.argmin())
    found = []
    for units in reversed(taken):
        found.append(int(units[left]))
        left -= found[-1]
    return tuple(reversed(found))


def fairest(misses: Sequence[Sequence[float]], capacity: int) -> tuple[int, ...]:
    """Return the shares for which the worst pipeline misses least and, among those, the sum is least.

    Bisection on the worst: entries above it are forbidden.

    >>> fairest([[9.0, 5.0, 4.0], [9.0, 6.0, 1.0]], 3)
    (1, 2)
    """
    bounds = sorted({each for table in misses for each in table if np.isfinite(each)})
    low, high = 0, len(bounds) - 1
    found = shares(misses, capacity)
    while low <= high:
        middle = (low + high) // 2
        kept = [[each if each <= bounds[middle] else np.inf for each in table] for table in misses]
        try:
            found, high = shares(kept, capacity), middle - 1
        except ValueError:
            low = middle + 1
    return found


def charged(misses: Sequence[float], now: int, *, horizon_s: float, startup_s: float) -> list[float]:
    """Return what one pipeline misses over ``horizon_s`` from now on, by units, if it has ``now`` of them.

    ``misses``: per second, by units. Units that are added serve only after ``startup_s``; what is given
    up is missed at once. :func:`shares` of such tables weighs each single move against its price.

    >>> charged([9.0, 4.0, 1.0], 1, horizon_s=60, startup_s=20)
    [540.0, 240.0, 120.0]
    """
    started_s = max(horizon_s - startup_s, 0.0)
    return [
        miss * horizon_s if units <= now else misses[min(now, len(misses) - 1)] * startup_s + miss * started_s
        for units, miss in enumerate(misses)
    ]


def moved(
    now: Sequence[int], misses: Sequence[Sequence[float]], capacity: int, *, horizon_s: float, startup_s: float
) -> tuple[int, ...]:
    """Return new shares where their gain outlasts the move, else those of now.

    Gain: misses per second saved, over ``horizon_s``. Cost: what each pipeline that grows goes on missing
    until its new units have started.

    >>> moved((1, 2), [[9.0, 8.0, 1.0], [9.0, 0.5, 0.4]], 3, horizon_s=60, startup_s=20)
    (2, 1)
    >>> moved((1, 2), [[9.0, 8.0, 1.0], [9.0, 0.5, 0.4]], 3, horizon_s=15, startup_s=20)
    (1, 2)
    """
    then = shares(misses, capacity)
    before, after = (sum(table[units] for table, units in zip(misses, each, strict=True)) for each in (now, then))
    waits = (
        sum(table[old] - table[new] for table, old, new in zip(misses, now, then, strict=True) if new > old) * startup_s
    )
    if not np.isfinite(before):
        return then
    return then if (before - after) * horizon_s > waits else tuple(now)
