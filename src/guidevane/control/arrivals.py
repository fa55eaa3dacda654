"""Arrivals to plan for: renewal streams of a given rate and burstiness."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


SPREAD: Final = 32.0
"""Where the dispersion is higher, events come in heaps: how many at once decides, not how many a second."""


def gamma_arrivals(rate_per_s: float, scv: float, n: int, seed: int) -> npt.NDArray[np.float64]:
    """Return ``n`` arrival times in seconds of a gamma renewal process.

    ``scv`` is the squared coefficient of variation of the gaps (what InferLine calls CV); over
    windows much longer than a gap it is also the index of dispersion of the counts,
    Var/Mean (Cox and Lewis, 1966, section 4.5). 1 is a Poisson process, 0 a metronome.

    >>> arrivals = gamma_arrivals(100, 4.0, 100_000, 1)
    >>> gaps = np.diff(arrivals)
    >>> bool(abs(gaps.mean() * 100 - 1) < 0.05), bool(abs(gaps.var() / gaps.mean() ** 2 - 4) < 0.3)
    (True, True)
    """
    if scv <= 0:
        return np.arange(1, n + 1) / rate_per_s
    return np.cumsum(_gaps(scv, n, seed) * (scv / rate_per_s))


@lru_cache(maxsize=8)
def _gaps(scv: float, n: int, seed: int) -> npt.NDArray[np.float64]:
    """Draw gaps, of which each rate has its multiple: plans are made for dozens of rates with the same ones."""
    return np.random.default_rng(seed).standard_gamma(1 / scv, n)


def most_misses(events: int, epsilon: float, confidence: float = 0.95) -> int:
    """Return how many of ``events`` may miss for the upper Clopper-Pearson bound to stay at ``epsilon``; -1 for none.

    The bound is at most epsilon where so few misses would come with a probability of at most
    1 - ``confidence`` if the true share were epsilon (Clopper and Pearson, 1934).

    >>> most_misses(10_000, 0.01), most_misses(300, 0.01), most_misses(100, 0.01)
    (83, 0, -1)
    """
    if events <= 0 or not 0 < epsilon < 1:
        return -1 if epsilon <= 0 else events
    counts = np.arange(0, int(events * epsilon) + 2)
    ratios = np.log((events - counts[:-1]) / (counts[:-1] + 1)) + np.log(epsilon / (1 - epsilon))
    logs = events * np.log1p(-epsilon) + np.concatenate(([0.0], np.cumsum(ratios)))
    below = np.cumsum(np.exp(logs)) <= 1 - confidence
    return int(below.sum()) - 1
