"""Guidevane on one capacity: simulated misses by replicas, an exact knapsack with the price of moving, every 20 s.

What it knows: each job's counts, second by second, up to now. The rate of a job is that of the tuner
(``control.traffic``); what it may become by the time that a replica has started is what rates have become
before, of all jobs, relative to what was known (a prior, until enough was seen).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.knapsack import charged, shares
from guidevane.control.traffic import Traffic
from loadtests.steering.faro.jobs import JOBS, LEAST_S, QUEUE, SLO_S, STARTUP_S, changes, served, services

if TYPE_CHECKING:
    from loadtests.steering.faro.jobs import Jobs
    from loadtests.steering.plant.columns import Floats

EVERY_S, HORIZON_S, MOST = 20.0, 120.0, 24
_PRIOR = (0.75, 0.9, 1.0, 1.1, 1.3)
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
_KNOWN, _KEPT = 100, 1800
_RATES = np.concatenate([[0.25, 0.5], np.arange(1.0, 60.0)])
_EVENTS = 6000


@dataclass(frozen=True)
class Misses:
    """The share of a job's events that miss, by rate and replicas, simulated with its own service times."""

    shed: bool

    @cached_property
    def table(self) -> Floats:
        """Float64[replicas 0 to MOST, rates]."""
        rng = np.random.default_rng(7)
        gaps, took = rng.exponential(1.0, _EVENTS), services(_EVENTS, rng)
        found = np.ones((MOST + 1, _RATES.size))
        for at, rate in enumerate(_RATES):
            for replicas in range(1, MOST + 1):
                still = changes(np.array([replicas]), EVERY_S)
                missed = served(np.cumsum(gaps / rate), took, *still, QUEUE, SLO_S, LEAST_S if self.shed else -1.0)
                found[replicas, at] = missed.mean()
        return found

    def per_s(self, rate_per_s: float) -> Floats:
        """Return the events that miss per second, float64[replicas], at a rate."""
        at = np.interp(rate_per_s, _RATES, np.arange(_RATES.size))
        low = int(at)
        high = min(low + 1, _RATES.size - 1)
        share = self.table[:, low] + (at - low) * (self.table[:, high] - self.table[:, low])
        return np.asarray(rate_per_s * share)


@dataclass
class Knapsack:
    """Decides every ``EVERY_S``; it goes through the seconds once, in order."""

    jobs: Jobs
    misses: Misses
    traffic: list[Traffic] = field(default_factory=lambda: [Traffic() for _ in range(JOBS)])
    seen_s: int = 0
    rates: list[list[float]] = field(default_factory=list)
    """What was known of each job's rate, a row each decision."""
    ratios: list[float] = field(default_factory=list)
    """The rate a start-up later over what was known of it."""

    def decide(self, at_s: float, now: tuple[int, ...], capacity: int) -> tuple[int, ...]:
        """Return the replicas of each job from now on."""
        for second in range(self.seen_s, int(at_s)):
            for job in range(JOBS):
                half = int(self.jobs.per_second[job, second])
                self.traffic[job] = self.traffic[job].after([half - half // 2, half // 2], 1.0)
        self.seen_s = int(at_s)
        rates = [each.rate_per_s for each in self.traffic]
        self._learn(rates)
        tables = []
        for job, rate in enumerate(rates):
            expected = np.mean([self.misses.per_s(rate * ratio) for ratio in self._ratios()], axis=0)
            expected[0] = np.inf
            tables.append(charged(expected.tolist(), now[job], horizon_s=HORIZON_S, startup_s=STARTUP_S))
        return shares(tables, capacity)

    def _learn(self, rates: list[float]) -> None:
        lag = round((STARTUP_S + EVERY_S) / EVERY_S)
        if len(self.rates) >= lag:
            pairs = zip(self.rates[-lag], rates, strict=True)
            self.ratios = [*self.ratios, *(now / was for was, now in pairs if was > 1)][-_KEPT:]
        self.rates.append(rates)

    def _ratios(self) -> tuple[float, ...]:
        if len(self.ratios) < _KNOWN:
            return _PRIOR
        return tuple(np.quantile(self.ratios, _QUANTILES).tolist())
