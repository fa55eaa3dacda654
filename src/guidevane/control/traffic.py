"""How many events come: the rate now, how bursty it is, whether it jumped, where it leads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HALF_S = 0.5
_KEPT = 240
_BLOCK = 20
_WINDOWS_S = (120, 60, 30, 15, 8, 4, 2)
_SHORT_S, _Z_SHORT, _Z_LONG = 4, 4.0, 3.0
_PRIOR_DISPERSION = 2.0
_STEEPEST = 2.0
"""How many times the rate of now a slope may lead to."""
_PRIOR_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the last two minutes of arrivals say.

    ``halves``: events in each half second, the newest last. ``rate_per_s``: the mean over the longest window
    that no shorter one contradicts, so that it is steady while nothing changes and follows at
    once where something does. ``dispersion``: Var/Mean of the half seconds' counts, the median
    over blocks of ten seconds (1 for a Poisson process). ``span_s``: the window that was taken.

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

    def after(self, counts: Sequence[int], interval_s: float) -> Traffic:
        """Return the traffic one interval later; ``counts`` are equal parts of it."""
        halves = (*self.halves, *_in_halves(counts, interval_s))[-_KEPT:]
        if not halves:
            return self
        dispersion = _dispersion(halves)
        rate, span_s = _steady(halves, dispersion)
        return Traffic(halves, rate, dispersion, span_s)

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
        """Return where a significant slope leads in ``horizon_s``; the rate now, where there is none or it falls.

        The last 5 s against the 15 s before them; significant beyond 3 standard errors, of which 2 are
        taken off, as the slopes that are noticed are those that chance has made steeper.
        """
        if self.seen_s() < 20:  # noqa: PLR2004 - the two windows
            return self.rate_per_s
        new, old = self.count(5), self.count(20) - self.count(5)
        slope = (new / 5 - old / 15) / 10
        error = max(math.sqrt(self.dispersion * (new / 25 + old / 225)) / 10, 1e-9)
        if slope <= 3 * error:
            return self.rate_per_s
        # A step looks like a slope for some seconds, and leads nowhere.
        leads_to = min(new / 5 + (slope - 2 * error) * (horizon_s + 2.5), _STEEPEST * new / 5)
        return max(self.rate_per_s, leads_to)


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


def _steady(halves: Sequence[int], dispersion: float) -> tuple[float, float]:
    """Return the rate over the longest window that no shorter one contradicts, and that window in seconds."""
    known_s = len(halves) * HALF_S
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
