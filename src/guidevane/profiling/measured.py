"""What was measured, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.profile import half_normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Quantile:
    """One quantile of a sample, seconds, with its 95 % bootstrap interval (Efron, 1979; percentile method)."""

    at: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: NDArray[np.float64], p: float, *, seed: int = 1) -> Quantile:
        """Return the ``p`` quantile of float64[n].

        >>> found = Quantile.of(np.arange(1.0, 1001.0), 0.5)
        >>> found.at, 450 < found.low < found.at < found.high < 550
        (500.5, True)
        """
        drawn = np.random.default_rng(seed).integers(0, len(seconds), (_RESAMPLES, len(seconds)))
        low, high = np.percentile(np.quantile(seconds[drawn], p, axis=1), [2.5, 97.5])
        return cls(float(np.quantile(seconds, p)), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Point:
    """One batch size: ``service`` is what replicas computed, ``call`` what the caller waited; p50 and p99 of both."""

    batch: int
    calls: int
    service_p50: Quantile
    service_p99: Quantile
    call_p50: Quantile
    call_p99: Quantile

    @classmethod
    def of(cls, batch: int, service_s: Sequence[float], call_s: Sequence[float]) -> Point:
        """Return the point of some calls; one at least."""
        service, call = np.array(service_s), np.array(call_s)
        return cls(
            batch, len(service), Quantile.of(service, 0.5), Quantile.of(service, 0.99),
            Quantile.of(call, 0.5), Quantile.of(call, 0.99),
        )  # fmt: skip

    @property
    def hop_s(self) -> float:
        """Return the part of a call that is no computing, at the median."""
        return max(self.call_p50.at - self.service_p50.at, 0.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """Members that compute together, in one way (``kind``: cpu, cpu-bfloat16, cuda-compile, ...)."""

    kind: str
    members: tuple[str, ...]
    points: tuple[Point, ...]
    startup_s: float

    @property
    def jitter(self) -> float:
        """Return the jitter of :class:`guidevane.control.profile.Profile` that gives the measured p99 over p50.

        A service takes L x (1 + jitter x abs(N(0, 1))), so p99/p50 = (1 + 2.576 j) / (1 + 0.674 j); the median over all
        batch sizes, from 0 to 1.
        """
        ratio = float(np.median([each.service_p99.at / max(each.service_p50.at, 1e-9) for each in self.points]))
        p50, p99 = half_normal_quantile(0.5), half_normal_quantile(0.99)
        steepest = p99 - p50 * ratio
        return 1.0 if steepest <= 0 else min(max((ratio - 1) / steepest, 0.0), 1.0)

    def latency_s(self, point: Point) -> float:
        """Return what the profile says of a point, so that with its jitter the median is what was measured."""
        return point.service_p50.at / (1 + self.jitter * half_normal_quantile(0.5))


@dataclass(frozen=True, slots=True)
class Untried:
    """A way to compute that was not measured, and why."""

    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment: the way that is declared first, then the others that were tried; and what could not be."""

    name: str
    curves: tuple[Curve, ...]
    untried: tuple[Untried, ...] = ()


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage's handler: mean seconds by batch size, in this process."""

    name: str
    mean_s: dict[int, float]
