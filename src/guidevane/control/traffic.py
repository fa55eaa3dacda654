"""How many events come: the rate now, how bursty it is, whether it jumped, where it leads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from guidevane.control.arrivals import SPREAD

if TYPE_CHECKING:
    from collections.abc import Sequence

Counts: TypeAlias = npt.NDArray[np.float64]

HALF_S = 0.5
_KEPT = 240
_BLOCK = 20
_WINDOWS_S = (120, 60, 30, 15, 8, 4, 2)
_SHORT_S, _Z_SHORT, _Z_LONG = 4, 4.0, 3.0
_PRIOR_DISPERSION = 2.0
_STEEPEST = 2.0
"""How many times the rate of now a slope may lead to."""
_PRIOR_BLOCKS = 2
_RISING_S, _LEAST_RISE_S, _Z_RISE = (120, 60, 30), 6.0, 3.5
_ENDS_S, _Z_END = (5, 10, 20, 30), 1.5
_TENTHS, _IN_HALF = 100, 5
_FEWEST, _Z_SURE = 3, 3.09
_HEAPS_S = 300.0
"""Heaps are forgotten with this time constant."""
_SURELY = 4.0
"""What a line explains more than the best of all steps, in variances of a count: it is seven times as likely then."""


@dataclass(frozen=True, slots=True)
class Rise:
    """A rise within the last ``span_s``: the rate now, how much it grows a second, the standard error of that."""

    now_per_s: float
    slope: float
    error: float
    span_s: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the last two minutes of arrivals say.

    ``halves``: events in each half second, the newest last. ``rate_per_s``: the mean over the longest window
    that no shorter one contradicts, so that it is steady while nothing changes and follows at
    once where something does. ``dispersion``: Var/Mean of the half seconds' counts, the median
    over blocks of ten seconds (1 for a Poisson process). ``heaped``: what tenths of a second have at least, now or
    lately: a heap each half second looks calm by half seconds. ``at_least``: what the half seconds of the last ten
    seconds have at least. ``tenths``: events in each tenth, as far as they are told. ``span_s``: the window that was
    taken; ``steady_s``: the longest in which nothing changed. ``rise``: how the rate rises now, ``None`` where it does
    not.

    >>> calm = Traffic()
    >>> for _ in range(60):
    ...     calm = calm.after([10, 11], 1.0)
    >>> calm.rate_per_s, calm.span_s
    (21.0, 60.0)
    >>> calm.after([40, 45], 1.0).after([40, 45], 1.0).rate_per_s > 60
    True
    """

    halves: tuple[int, ...] = ()
    rate_per_s: float = 0.0
    dispersion: float = _PRIOR_DISPERSION
    span_s: float = 0.0
    steady_s: float = 0.0
    rise: Rise | None = None
    tenths: tuple[int, ...] = ()
    heaped: float = 0.0
    at_least: float = 0.0

    def after(self, counts: Sequence[int], interval_s: float, tenths: Sequence[int] = ()) -> Traffic:
        """Return the traffic one interval later; ``counts`` are equal parts of it."""
        fine = (*self.tenths, *tenths)[-_TENTHS:]
        halves = (*self.halves, *_in_halves(counts, interval_s))[-_KEPT:]
        if not halves:
            return self
        dispersion = _dispersion(halves)
        heaped = max(_at_least(fine), self.heaped * math.exp(-interval_s / _HEAPS_S))
        # A heap is no other rate. What was contradicted once is not believed again.
        spread = max(dispersion, heaped) if heaped > SPREAD else dispersion
        rate, span_s = _steady(halves, spread, self.steady_s + interval_s)
        steady_s = span_s
        rise = _rise(halves, dispersion)
        if rise is not None and rise.span_s > span_s:
            # Who rises is above the mean of any window.
            rate, span_s = max(rate, rise.now_per_s), rise.span_s
        return Traffic(halves, rate, dispersion, span_s, steady_s, rise, fine, heaped, _at_least(_summed(fine)))

    def count(self, window_s: float) -> int:
        """Return the events of the last ``window_s`` seconds (of what is kept, at most)."""
        return sum(self.halves[-max(round(window_s / HALF_S), 1) :])

    def seen_s(self) -> float:
        """Return how far back the counts go."""
        return len(self.halves) * HALF_S

    def demand_per_s(self, window_s: float = 5.0) -> float:
        """Return the rate of the last ``window_s``, as far as it is more than noise: else the rate that is known.

        Of the difference between the two, one and a half standard errors are taken for chance (soft
        thresholding: Donoho, 1995).
        """
        window_s = min(window_s, self.seen_s()) or window_s
        came = self.count(window_s) / window_s
        noise = 1.5 * math.sqrt(self.dispersion * max(came, self.rate_per_s) / window_s)
        gap = came - self.rate_per_s
        return max(self.rate_per_s + math.copysign(max(abs(gap) - noise, 0.0), gap), 0.0)

    def ahead_per_s(self, horizon_s: float) -> float:
        """Return where a rise leads in ``horizon_s``; the rate now, where there is none.

        Two standard errors are taken off the slope, as the slopes that are noticed are those that chance has made
        steeper; it leads to twice the rate now at most.
        """
        rise = self.rise
        if rise is None:
            return self.rate_per_s
        leads_to = rise.now_per_s + max(rise.slope - 2 * rise.error, 0.0) * horizon_s
        return max(self.rate_per_s, min(leads_to, _STEEPEST * rise.now_per_s))


def _in_halves(counts: Sequence[int], interval_s: float) -> tuple[int, ...]:
    """Return counts of equal parts as counts of half seconds; what does not divide is dealt out evenly."""
    parts = round(interval_s / HALF_S)
    if not counts or parts <= 0:
        return ()
    if parts == len(counts):
        return tuple(counts)
    bounds = [sum(counts) * part // parts for part in range(parts + 1)]
    if len(counts) % parts == 0:
        step = len(counts) // parts
        return tuple(sum(counts[part * step : (part + 1) * step]) for part in range(parts))
    return tuple(high - low for low, high in pairwise(bounds))


def _dispersion(halves: Sequence[int]) -> float:
    blocks = []
    for end in range(len(halves), _BLOCK - 1, -_BLOCK):
        block = halves[end - _BLOCK : end]
        mean = sum(block) / _BLOCK
        if mean > 0:
            blocks.append(sum((each - mean) ** 2 for each in block) / (_BLOCK - 1) / mean)
    prior = [_PRIOR_DISPERSION] * max(_PRIOR_BLOCKS - len(blocks) // 2, 0)
    return max(median([*blocks, *prior]), 0.1) if blocks or prior else _PRIOR_DISPERSION


def _summed(tenths: Sequence[int]) -> tuple[int, ...]:
    """Return the counts of the half seconds that end with the newest."""
    whole = tenths[len(tenths) % _IN_HALF :]
    return tuple(sum(whole[at : at + _IN_HALF]) for at in range(0, len(whole), _IN_HALF))


def _at_least(told: Sequence[int]) -> float:
    """Return a dispersion that counts are above but once in a thousand times, were they Poisson's but for a factor."""
    counts = np.asarray(told, dtype=np.float64)
    free = len(counts) - 1
    mean = float(counts.mean()) if len(counts) else 0.0
    if free < _FEWEST or mean <= 0:
        return 0.0
    # A step or a ramp is far from the mean as well, but two of its counts in a row differ little (von Neumann, 1941).
    squares = min(float((np.diff(counts) ** 2).sum()) / 2, float(((counts - mean) ** 2).sum()))
    return squares / mean / _chi_square(free)


@cache
def _chi_square(free: int) -> float:
    """Return what a chi-square of so many degrees of freedom exceeds once in a thousand (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * free)
    return free * (1 - part + _Z_SURE * math.sqrt(part)) ** 3


def _steady(halves: Sequence[int], dispersion: float, most_s: float) -> tuple[float, float]:
    """Return the rate over the longest window that no shorter one contradicts, and that window in seconds.

    No window is longer than ``most_s``, as far as that is longer than the shortest.
    """
    known_s = min(len(halves) * HALF_S, max(most_s, float(_WINDOWS_S[-1])))
    spans = sorted({min(float(each), known_s) for each in _WINDOWS_S}, reverse=True)
    sums = {span: sum(halves[-round(span / HALF_S) :]) for span in spans}
    for at, span in enumerate(spans):
        rate = sums[span] / span
        for other in spans[at + 1 :]:
            z = _Z_SHORT if other <= _SHORT_S else _Z_LONG
            if abs(sums[other] - rate * other) > z * math.sqrt(dispersion * rate * other) + 1:
                break
        else:
            return rate, span
    return sums[spans[-1]] / spans[-1], spans[-1]


def _rise(halves: Sequence[int], dispersion: float) -> Rise | None:
    """Return how the rate rises now: the longest window that is flat and then a line; None where none rises.

    The line begins at the moment that explains most (least squares). It counts where its slope is above 3.5 standard
    errors, and where no step at any moment of the window explains the counts better, nor its end lies below it: a
    step leads nowhere, and what has risen neither.
    """
    for span_s in _RISING_S:
        size = round(span_s / HALF_S)
        if size > len(halves):
            continue
        counts = np.asarray(halves[-size:], dtype=np.float64)
        mean = float(counts.sum()) / size
        variance = max(dispersion * mean, 1e-9)
        bends = _bends(size)
        gains = [max(float(bend @ counts) - middle * mean * size, 0.0) ** 2 / spread for bend, middle, spread in bends]
        best = max(range(len(bends)), key=gains.__getitem__)
        if gains[best] <= _Z_RISE**2 * variance or _stepped(counts, mean) > gains[best] - _SURELY * variance:
            continue
        bend, middle, spread = bends[best]
        slope, error = math.sqrt(gains[best] / spread), math.sqrt(variance / spread)
        said = mean + slope * (bend - middle)
        if not _short(counts, said, dispersion):
            return Rise(float(said[-1]) / HALF_S, slope / HALF_S**2, error / HALF_S**2, span_s)
    return None


@cache
def _bends(size: int) -> tuple[tuple[Counts, float, float], ...]:
    """Return what is 0 and then counts up, from several moments of a window on: with its mean, and squares about it."""
    made = []
    for begin in range(0, size - round(_LEAST_RISE_S / HALF_S) + 1, max(size // 10, 1)):
        bend = np.maximum(np.arange(size) - begin, 0.0)
        made.append((bend, float(bend.mean()), float(((bend - bend.mean()) ** 2).sum())))
    return tuple(made)


def _stepped(counts: Counts, mean: float) -> float:
    """Return how much of the squares about the mean the best step explains."""
    size = len(counts)
    after = np.arange(1, size)
    below = np.cumsum(counts - mean)[:-1]
    return float((below**2 * size / (after * (size - after))).max())


def _short(counts: Counts, said: Counts, dispersion: float) -> bool:
    """Say whether fewer came at the end than was said, by more than chance."""
    for last_s in _ENDS_S:
        last = round(last_s / HALF_S)
        if last * 2 > len(counts):
            break
        expected = float(said[-last:].sum())
        if counts[-last:].sum() < expected - _Z_END * math.sqrt(max(dispersion * expected, 1e-9)):
            return True
    return False
