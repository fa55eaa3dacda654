"""Faro-FairSum: the sum of utilities, less as many times the gap between best and worst as there are jobs.

Not separable by job, so it is searched: from Faro-Sum's exact answer and from what there is now, single replicas
are moved as long as that helps (Faro's COBYLA finds a local optimum too, over real numbers).
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from loadtests.steering.faro.faro_sum import largest_sum
from loadtests.steering.faro.utility import coming, dealt, tables

if TYPE_CHECKING:
    from loadtests.steering.faro.jobs import Jobs
    from loadtests.steering.plant.columns import Floats


def worth(utilities: Floats, replicas: tuple[int, ...]) -> float:
    """Return sum U + n (min U - max U).

    >>> import numpy as np
    >>> round(worth(np.array([[0, 0.5, 1.0], [0, 0.2, 0.8]]), (2, 1)), 6)
    -0.4
    >>> round(worth(np.array([[0, 0.5, 1.0], [0, 0.2, 0.8]]), (1, 2)), 6)
    0.7
    """
    each = [float(utilities[job, count]) for job, count in enumerate(replicas)]
    return sum(each) + len(each) * (min(each) - max(each))


def fairest_sum(utilities: Floats, capacity: int, *others: tuple[int, ...]) -> tuple[int, ...]:
    """Return the best that is found by moving or adding single replicas.

    >>> import numpy as np
    >>> fairest_sum(np.array([[0, 0.5, 1.0, 1.0], [0, 0.2, 0.8, 0.9]]), 3)
    (1, 2)
    """
    starts = [largest_sum(utilities, capacity), *(each for each in others if sum(each) <= capacity)]
    return max((_climbed(utilities, capacity, each) for each in starts), key=lambda each: worth(utilities, each))


def _climbed(utilities: Floats, capacity: int, now: tuple[int, ...]) -> tuple[int, ...]:
    best = worth(utilities, now)
    while True:
        options = []
        if sum(now) < capacity:
            options += [_moved(now, None, to) for to in range(len(now))]
        options += [_moved(now, away, to) for away, to in permutations(range(len(now)), 2) if now[away] > 1]
        better = max(options, key=lambda each: worth(utilities, each), default=now)
        if worth(utilities, better) <= best + 1e-12:
            return now
        now, best = better, worth(utilities, better)


def _moved(now: tuple[int, ...], away: int | None, to: int) -> tuple[int, ...]:
    return tuple(count + (job == to) - (job == away) for job, count in enumerate(now))


def decide(jobs: Jobs, at_s: float, now: tuple[int, ...], capacity: int) -> tuple[int, ...]:
    """Return the replicas of each job from now on."""
    rates = coming(jobs, at_s)
    return dealt(list(fairest_sum(tables(rates, now, capacity), capacity, now)), rates, capacity)
