"""From runs to figures: everything counted over all events, never over those that survived."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.steering.case import Case
    from loadtests.steering.plant.columns import Floats
    from loadtests.steering.playing import Run

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Score:
    """One policy on one case. ``late``, ``shed``, ``failed``: events; ``miss``: their share of all events (0-1).

    ``late``: decided after the deadline, or never finished. ``oracle_ratio``: $ over the oracle's $; None where no
    schedule keeps the objective. Percentiles are over all events, what was shed or never finished taken as infinite:
    then None.
    """

    miss: float
    late: int
    shed: int
    failed: int
    cost_usd: float
    replica_seconds: float
    oracle_ratio: float | None
    actions: int
    p50_ms: float | None
    p99_ms: float | None
    events: int
    kept: bool
    """Whether at most ε of the events missed: else its cost is no win."""

    def plain(self) -> dict[str, object]:
        """Return it as JSON knows it."""
        return asdict(self)


def percentile_ms(latency_s: Floats, p: float) -> float | None:
    """Return a percentile in ms by the nearest rank above; None where it is infinite.

    >>> percentile_ms(np.array([0.1, 0.2, np.inf]), 50), percentile_ms(np.array([0.1, 0.2, np.inf]), 99)
    (200.0, None)
    """
    at = float(np.percentile(latency_s, p, method="higher"))
    return None if np.isinf(at) else round(1e3 * at, 3)


def ratio(cost_usd: float, oracle_usd: float | None) -> float | None:
    """Return a cost over the oracle's; None where there is none, or where what costs nothing would do.

    >>> ratio(3.0, 2.0), ratio(0.0, 0.0), ratio(3.0, None)
    (1.5, 1.0, None)
    """
    if oracle_usd is None:
        return None
    if oracle_usd <= 0:
        return 1.0 if cost_usd <= 0 else None
    return cost_usd / oracle_usd


def score(run: Run, case: Case, oracle_usd: float | None) -> Score:
    """Judge one run."""
    events = case.arrivals_s.size
    missed = run.misses(case.slo_s)
    return Score(
        miss=missed / events, late=missed - run.shed, shed=run.shed, failed=0,
        cost_usd=run.cost_usd, replica_seconds=run.replica_seconds,
        oracle_ratio=ratio(run.cost_usd, oracle_usd),
        actions=run.actions, p50_ms=percentile_ms(run.latency_s, 50), p99_ms=percentile_ms(run.latency_s, 99),
        events=events, kept=missed <= case.allowed,
    )  # fmt: skip


def best(runs: Sequence[Run], case: Case) -> Run:
    """Return the cheapest run that keeps the objective; where none does, the one with the fewest misses."""
    keep = [run for run in runs if run.misses(case.slo_s) <= case.allowed]
    if keep:
        return min(keep, key=lambda run: run.cost_usd)
    return min(runs, key=lambda run: (run.misses(case.slo_s), run.cost_usd))


def converged_s(run: Run, case: Case, rise_s: float, *, hold_s: int = 30, span_s: int = 10) -> float | None:
    """Return how long after a rise the P99 of each following 10 s is within the objective for 30 s; None: never."""
    second = case.arrivals_s.astype(np.int64)
    seconds = int(case.length_s)
    came = np.bincount(second, minlength=seconds + 1)
    late = np.bincount(second[run.latency_s > case.slo_s], minlength=seconds + 1)
    came_before, late_before = (np.concatenate([[0], np.cumsum(each)]) for each in (came, late))
    begin = int(rise_s)
    good = 0
    for t in range(begin, seconds - span_s + 1):
        in_span = came_before[t + span_s] - came_before[t]
        missed = late_before[t + span_s] - late_before[t]
        good = good + 1 if missed <= 0.01 * in_span else 0
        if good == hold_s:
            return float(t - hold_s + 1 - begin)
    return None


def paired(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean difference of paired figures, and its 95 % percentile bootstrap interval.

    >>> paired([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    (-1.0, -1.0, -1.0)
    """
    gaps = np.asarray(ours) - np.asarray(theirs)
    drawn = np.random.default_rng(seed).integers(0, gaps.size, (RESAMPLES, gaps.size))
    low, high = np.percentile(gaps[drawn].mean(axis=1), [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high)
