"""What a stage costs in time: latency against batch size on one kind of hardware, and what live batches say of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

_MOST_BATCH = 1024


@dataclass(frozen=True)
class Profile:
    """Service time of one batch on one replica, as measured at some batch sizes.

    ``points`` are (batch, seconds), ascending in batch. Between two of them latency is linear. Below
    the first, it follows the line through the first two, but never falls below the first's time per
    item (one point alone: a batch costs what its items cost one by one). Batches larger than the
    last point are not used: what was not measured is not promised; :meth:`latency_s` answers for
    them all the same, along the last two points' line, for a simulator that must.

    A service takes latency x (1 + ``jitter`` x abs(N(0, 1))): never less than the profile says.

    >>> profile = Profile.read({"1": 12.0, "4": 30.0})
    >>> profile.latency_s(2), profile.latency_s(4), profile.most
    (0.018, 0.03, 4)
    """

    points: tuple[tuple[int, float], ...]
    jitter: float = 0.03
    scale: float = 1.0

    @classmethod
    def read(cls, table: Mapping[Any, Any], *, jitter: float = 0.03) -> Profile:
        """Return the profile of a table batch size → milliseconds. Raises ``Misconfigured``."""
        points: dict[int, float] = {}
        for name, value in table.items():
            try:
                batch = int(str(name))
            except ValueError:
                raise Misconfigured(
                    f"batch size {name!r} is no whole number → write {{'1': 12.0, '4': 30.1}}"
                ) from None
            if not 1 <= batch <= _MOST_BATCH:
                raise Misconfigured(f"batch size {batch} → write a size from 1 to {_MOST_BATCH}")
            if not is_number(value):
                raise Misconfigured(f"the latency of batch {batch} is {value!r:.40} → write milliseconds, a number")
            if value <= 0:
                raise Misconfigured(f"the latency of batch {batch} is {value:g} ms → write milliseconds above 0")
            points[batch] = value / 1e3
        if not points:
            raise Misconfigured("no latency at all → write {'1': 12.0}: milliseconds by batch size")
        if not (math.isfinite(jitter) and 0 <= jitter <= 1):
            raise Misconfigured(f"jitter {jitter!r} → write a share of the latency from 0 to 1")
        return cls(tuple(sorted(points.items())), jitter)

    @property
    def most(self) -> int:
        """Return the largest batch that was measured."""
        return self.points[-1][0]

    def latency_s(self, batch: int) -> float:
        """Return the service time of one batch without jitter, in seconds."""
        if batch < 1:
            raise ValueError(f"a batch of {batch} items takes no time")
        if batch <= self.most:
            return float(self.table[batch])
        return float(self.table[self.most]) + (batch - self.most) * max(self._slopes[-1], 0.0) * self.scale

    def quantile_s(self, batch: int, p: float) -> float:
        """Return the ``p`` quantile of a batch's service time: half-normal above the profile.

        >>> round(Profile(((1, 0.1),)).quantile_s(1, 0.99), 4)
        0.1077
        """
        return self.latency_s(batch) * (1 + self.jitter * half_normal_quantile(p))

    @cached_property
    def table(self) -> npt.NDArray[np.float64]:
        """Service times in seconds, by batch size up to ``most``; entry 0 is 0."""
        sizes = np.arange(self.most + 1, dtype=np.float64)
        known = np.array([batch for batch, _ in self.points], dtype=np.float64)
        times = np.array([seconds for _, seconds in self.points])
        table: npt.NDArray[np.float64] = np.interp(sizes, known, times)
        first, first_s = self.points[0]
        below = sizes < first
        line = first_s - (first - sizes) * max(self._slopes[0], 0.0)
        table[below] = np.maximum(line, first_s * sizes / first)[below]
        table *= self.scale
        table[0] = 0.0
        return table

    @cached_property
    def fastest_s(self) -> float:
        """Return the shortest service time of any batch size, in seconds: what no configuration undercuts."""
        return float(self.table[1:].min())

    def throughput(self, batch: int) -> float:
        """Return items per second of one replica that is always busy with batches of this size."""
        return batch / self.mean_s(batch)

    def mean_s(self, batch: int) -> float:
        """Return the mean service time of a batch: the profile's, and the mean of the jitter."""
        return self.latency_s(batch) * (1 + self.jitter * math.sqrt(2 / math.pi))

    def scaled(self, factor: float) -> Profile:
        """Return the same shape, ``factor`` times as slow."""
        return replace(self, scale=self.scale * factor)

    @cached_property
    def _slopes(self) -> tuple[float, ...]:
        if len(self.points) == 1:
            batch, seconds = self.points[0]
            return (seconds / batch,)
        return tuple((after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(self.points))


def is_number(raw: object) -> TypeGuard[float]:
    """Tell whether something is a finite number that a float holds: JSON's whole numbers have no end."""
    try:
        return isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw)
    except OverflowError:
        return False


def half_normal_quantile(p: float) -> float:
    """Return the ``p`` quantile of abs(N(0, 1)).

    >>> round(half_normal_quantile(0.99), 3)
    2.576
    """
    from statistics import NormalDist  # noqa: PLC0415 - half a millisecond that most importers need not pay

    return NormalDist().inv_cdf((1 + p) / 2)


@dataclass(frozen=True, slots=True)
class Correction:
    """How far live service times are from a profile: recursive least squares on the log of their ratio.

    The model is log(measured / profile) = level, with exponential forgetting (Ljung, System
    Identification, 1999, section 11.2): hardware or a model got slower by a factor, at all batch
    sizes. ``weight`` is the number of batches it rests on, as far as they are remembered.

    >>> still = Profile(((1, 0.01), (8, 0.03)), jitter=0.0)
    >>> slow = Correction().learn(still, [(8, 0.045, 50), (1, 0.015, 50)])
    >>> round(slow.ratio, 2)
    1.5
    """

    level: float = 0.0
    weight: float = 0.0
    forgetting: float = 0.998

    def learn(self, profile: Profile, served: Iterable[tuple[int, float, int]]) -> Correction:
        """Take in (batch size, mean service seconds, how many such batches); return the new belief."""
        level, weight = self.level, self.weight
        for batch, seconds, count in served:
            if count > 0 and seconds > 0:
                weight = weight * self.forgetting**count + count
                level += (math.log(seconds / profile.mean_s(batch)) - level) * count / weight
        return replace(self, level=level, weight=weight)

    @property
    def ratio(self) -> float:
        """Return measured over profiled service time; bounded to 1/8 to 8."""
        return math.exp(min(max(self.level, -2.08), 2.08))

    def corrected(self, profile: Profile) -> Profile:
        """Return the profile as live batches have it."""
        return profile if self.weight == 0 else profile.scaled(self.ratio)
