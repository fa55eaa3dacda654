"""The ten jobs as Faro plays them: minutes of arrivals, service times, cold starts, a queue of fifty, an objective.

Figures of Faro's artifact (``beomyeol/faro``): ResNet34 on one core, of which it says 180 ms and an objective of
four times that; measured service times are 79.3 ms + 68.6 ms x a lognormal with sigma 0.4225, 154 ms on
average; a replica starts in 35 s; a job's queue holds 50. Arrivals are a Poisson process within each minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering import workloads
from loadtests.steering.jitted import jitted

if TYPE_CHECKING:
    from loadtests.steering.plant.columns import Floats, Ints

JOBS, MINUTES, MINUTE_S = 10, 360, 60.0
SERVICE_S, SLO_S, STARTUP_S, QUEUE = 0.18, 0.72, 35.0, 50
LEAST_S, SPREAD_S, SIGMA = 0.0793, 0.0686, 0.4225


@dataclass(frozen=True)
class Jobs:
    """Arrivals and service times of all jobs, float64 each; the same seed gives the same for every policy."""

    seed: int
    minutes: int = MINUTES

    @cached_property
    def arrivals(self) -> tuple[Floats, ...]:
        """Seconds, ascending, one column a job."""
        return tuple(
            workloads.faro(job, minutes=self.minutes, rng=np.random.default_rng([self.seed, 5, job]))
            for job in range(JOBS)
        )

    @cached_property
    def services(self) -> tuple[Floats, ...]:
        """Seconds of each event's service."""
        return tuple(
            services(at.size, np.random.default_rng([self.seed, 6, job])) for job, at in enumerate(self.arrivals)
        )

    @cached_property
    def per_second(self) -> Ints:
        """Arrivals in each second, int64[jobs, seconds]: all that a policy sees."""
        seconds = int(self.minutes * MINUTE_S)
        return np.stack([np.bincount(at.astype(np.int64), minlength=seconds)[:seconds] for at in self.arrivals])

    def played(self, ordered: Ints, every_s: float, *, shed: bool) -> Outcome:
        """Return what becomes of an allocation: ``ordered`` int64[decisions, jobs], one row each ``every_s``."""
        missed = [
            served(at, took, *changes(ordered[:, job], every_s), QUEUE, SLO_S, LEAST_S if shed else -1.0)
            for job, (at, took) in enumerate(zip(self.arrivals, self.services, strict=True))
        ]
        return Outcome(self, tuple(missed))


@dataclass(frozen=True)
class Outcome:
    """Whether each event missed, bool[n] a job."""

    jobs: Jobs
    missed: tuple[np.ndarray, ...]

    @property
    def share(self) -> float:
        """The share of all events that were late, dropped, or found the queue full."""
        return sum(int(each.sum()) for each in self.missed) / sum(each.size for each in self.missed)

    @property
    def faros(self) -> float:
        """Faro's figure: the share of each job and minute, averaged over jobs and over minutes that had events."""
        shares = []
        for at, missed in zip(self.jobs.arrivals, self.missed, strict=True):
            minute = (at // MINUTE_S).astype(np.int64)
            came = np.bincount(minute, minlength=self.jobs.minutes)
            late = np.bincount(minute[missed], minlength=self.jobs.minutes)
            shares.append(float((late[came > 0] / came[came > 0]).mean()))
        return sum(shares) / len(shares)


def services(count: int, rng: np.random.Generator) -> Floats:
    """Return service times in seconds, float64[count]."""
    return np.asarray(LEAST_S + SPREAD_S * rng.lognormal(0.0, SIGMA, count))


def changes(ordered: Ints, every_s: float) -> tuple[int, Floats, Ints]:
    """Return the first number of replicas, and when how many join (a start-up after the order) or leave (at once).

    A launch that is taken back before it serves never joins: the newest go first.

    >>> changes(np.array([2, 4, 3, 3, 3]), 20.0)[1:]
    (array([55.]), array([1]))
    >>> changes(np.array([2, 1]), 20.0)
    (2, array([20.]), array([-1]))
    """
    starting: list[float] = []
    found: list[tuple[float, int]] = []
    for at in range(1, len(ordered)):
        now = at * every_s
        while starting and starting[0] <= now:
            found.append((starting.pop(0), 1))
        more = int(ordered[at] - ordered[at - 1])
        starting += [now + STARTUP_S] * max(more, 0)
        for _ in range(-more):
            if starting:
                starting.pop()
            else:
                found.append((now, -1))
    found += [(at, 1) for at in starting]
    found.sort()
    return int(ordered[0]), np.array([at for at, _ in found]), np.array([one for _, one in found], dtype=np.int64)


@jitted
def served(
    arrivals: Floats,
    services: Floats,
    replicas: int,
    change_s: Floats,
    change: Ints,
    queue: int,
    slo_s: float,
    shed_s: float,
) -> np.ndarray:
    """Serve one job, first come first served; return who missed ``slo_s``, bool[n].

    Who finds ``queue`` others waiting is turned away. Where ``shed_s`` is not negative, who could not end in time
    even if his service took only that is dropped when his turn comes. Replicas leave when they are done.
    """
    n = len(arrivals)
    missed = np.zeros(n, np.bool_)
    most = replicas
    for each in change:
        most += max(each, 0)
    free = np.full(most + 1, np.inf)
    free[:replicas] = 0.0
    starts = np.empty(n)
    count, waiting, next_change = 0, 0, 0
    for i in range(n):
        while True:
            one = int(np.argmin(free))
            start = max(free[one], arrivals[i])
            if next_change < len(change) and change_s[next_change] <= start:
                if change[next_change] > 0:
                    free[int(np.argmax(free))] = change_s[next_change]
                else:
                    free[one] = np.inf
                next_change += 1
                continue
            break
        while waiting < count and starts[waiting] <= arrivals[i]:
            waiting += 1
        if count - waiting >= queue or (shed_s >= 0.0 and start + shed_s > arrivals[i] + slo_s):
            missed[i] = True
            continue
        starts[count] = start
        count += 1
        free[one] = start + services[i]
        missed[i] = free[one] > arrivals[i] + slo_s
    return missed
