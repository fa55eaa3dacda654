"""Faro-Sum: the sum of all jobs' utilities is largest, every 300 s, at least one replica each.

Faro solves that with COBYLA over real numbers and rounds; here it is solved exactly (``control.knapsack``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.control.knapsack import shares
from loadtests.steering.faro.utility import coming, dealt, tables

if TYPE_CHECKING:
    from loadtests.steering.faro.jobs import Jobs
    from loadtests.steering.plant.columns import Floats


def largest_sum(utilities: Floats, capacity: int) -> tuple[int, ...]:
    """Return the replicas of each job, at least one, with the largest sum of ``utilities`` float64[jobs, replicas].

    Of equal sums the one with fewest replicas, as Faro shrinks what it found.

    >>> import numpy as np
    >>> largest_sum(np.array([[0, 0.5, 1.0, 1.0], [0, 0.2, 0.8, 0.9]]), 3), largest_sum(
    ...     np.array([[0, 0.5, 1.0, 1.0], [0, 0.2, 0.8, 0.9]]), 4)
    ((1, 2), (2, 2))
    """
    lost = [[float("inf"), *(1.0 - each for each in row[1:])] for row in utilities.tolist()]
    return shares(lost, capacity)


def decide(jobs: Jobs, at_s: float, now: tuple[int, ...], capacity: int) -> tuple[int, ...]:
    """Return the replicas of each job from now on."""
    rates = coming(jobs, at_s)
    return dealt(list(largest_sum(tables(rates, now, capacity), capacity)), rates, capacity)
