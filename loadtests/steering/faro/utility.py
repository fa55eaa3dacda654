"""Faro's model of a job: latency from an M/D/c queue, utility from latency, both made smooth where it is overloaded.

As in its artifact (``beomyeol/faro``), and with a gift: where Faro predicts rates (N-HiTS, seven minutes ahead), the
true rates of those minutes are told.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering.faro.jobs import JOBS, MINUTE_S, SERVICE_S, SLO_S

if TYPE_CHECKING:
    from loadtests.steering.faro.jobs import Jobs
    from loadtests.steering.plant.columns import Floats

EVERY_S, AHEAD_MINUTES, BUSIEST, START_MINUTES = 300.0, 7, 0.95, 1


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that a customer of an M/M/c queue waits; ``load`` = rate x service time < servers.

    >>> erlang_c(1, 0.5), round(erlang_c(2, 1.0), 4)
    (0.5, 0.3333)
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    busy = load / servers
    return blocked / (1 - busy * (1 - blocked))


def latency_s(rate_per_s: float, replicas: int, service_s: float = SERVICE_S) -> float:
    """Return the P99 latency: of M/D/c, whose waits are taken for half of M/M/c's.

    Above a load of 0.95, that at 0.95, times what the rate is too high by, so that it keeps growing.

    >>> round(latency_s(0.5 / 0.18, 1), 4), round(latency_s(1 / 0.18, 2), 4)
    (0.8842, 0.4956)
    >>> round(latency_s(1.9 / 0.18, 1) / latency_s(0.95 / 0.18, 1), 6)
    2.0
    """
    most = BUSIEST * replicas / service_s
    over = max(rate_per_s / most, 1.0)
    rate = min(rate_per_s, most)
    waits = erlang_c(replicas, rate * service_s)
    wait_s = math.log(100 * waits) / (replicas / service_s - rate) if waits > 0 else 0.0
    return over * (service_s + max(wait_s, 0.0) / 2)


@cache
def utility(rate_per_s: float, replicas: int) -> float:
    """Return min(1, objective / latency).

    >>> round(utility(0.5 / 0.18, 1), 4), utility(1 / 0.18, 2), utility(1.0, 0)
    (0.8143, 1.0, 0.0)
    """
    return min(SLO_S / latency_s(rate_per_s, replicas), 1.0) if replicas else 0.0


def tables(rates: Floats, now: tuple[int, ...], capacity: int) -> Floats:
    """Return the mean utility over the minutes to come, float64[jobs, capacity + 1], by replicas.

    ``rates`` float64[jobs, minutes], events per second. In the first minute only what is there now serves, where
    that is less.
    """
    found = np.zeros((rates.shape[0], capacity + 1))
    for job, row in enumerate(rates):
        for replicas in range(capacity + 1):
            serve = [min(replicas, now[job]) if at < START_MINUTES else replicas for at in range(len(row))]
            found[job, replicas] = np.mean([utility(round(float(r), 3), k) for r, k in zip(row, serve, strict=True)])
    return found


def coming(jobs: Jobs, at_s: float) -> Floats:
    """Return the true rates of the minutes to come, events per second, float64[jobs, up to 7]."""
    first = int(at_s // MINUTE_S)
    last = min(first + AHEAD_MINUTES, jobs.minutes)
    seconds = jobs.per_second[:, first * 60 : last * 60].reshape(JOBS, last - first, 60)
    return np.asarray(seconds.mean(axis=2))


def dealt(found: list[int], rates: Floats, capacity: int) -> tuple[int, ...]:
    """Hand out what is left, replica by replica, to the job with the longest latency at its highest rate.

    Faro keeps it for its reactive policy; handed out it serves sooner.
    """
    highest = rates.max(axis=1)
    while sum(found) < capacity:
        found[max(range(len(found)), key=lambda job: latency_s(float(highest[job]), found[job]))] += 1
    return tuple(found)
