"""When events come: the shapes of the evaluation, as long as somebody has time for."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering.workloads import recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_PER_S = 10.0
_STEP = (0.5, 1.0, 1.6, 0.8, 1.3, 0.7)
_SPIKE = ((0.0, 0.6), (0.3, 0.6), (0.4, 2.4), (0.75, 2.4), (0.95, 0.6), (1.0, 0.6))
"""Share of the run, multiple of the rate; linear between."""


def arrivals(name: str, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return arrival times in seconds from 0.

    ``azure_code`` is the recording's begin, with as many copies of each event as the rate asks for.
    Raises ``KeyError`` for a workload that is none of ``step``, ``spike``, ``azure_code``.
    """
    return {"step": _step, "spike": _spike, "azure_code": _azure}[name](seconds, np.random.default_rng(seed))


def _step(seconds: float, draws: np.random.Generator) -> NDArray[np.float64]:
    edges = np.linspace(0.0, seconds, len(_STEP) + 1)
    parts = [
        np.sort(draws.uniform(begin, end, draws.poisson(factor * RATE_PER_S * (end - begin))))
        for factor, (begin, end) in zip(_STEP, pairwise(edges), strict=True)
    ]
    return np.concatenate(parts)


def _spike(seconds: float, draws: np.random.Generator) -> NDArray[np.float64]:
    shares, factors = np.array(_SPIKE).T
    # Thinning: of a Poisson process at the highest rate, each event stays with the share of its moment.
    most = factors.max() * RATE_PER_S
    times = np.sort(draws.uniform(0.0, seconds, draws.poisson(most * seconds)))
    kept = draws.uniform(0.0, most, len(times)) < RATE_PER_S * np.interp(times / seconds, shares, factors)
    spike: NDArray[np.float64] = times[kept]
    return spike


def _azure(seconds: float, draws: np.random.Generator) -> NDArray[np.float64]:
    return recorded("code", rate_per_s=RATE_PER_S, seconds=round(seconds), rng=draws)
