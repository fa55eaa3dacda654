"""How much more than now to be ready for, and how long, learned from the pipeline's own past.

What is started now serves only after its start-up, so being ready for the rate of now is not enough
where rates jump. Three rules are weighed: a multiple of the rate now (``factor``), kept for a while
(``hold_s``), and a level to be ready for whatever the rate (``level_per_s``). They are replayed on what was
seen in the last hour: what would have been ready when each second's events came, what of them would have
been missed, what it would have cost (``outlook``). The cheapest is taken that would have missed no
more than the budget allows: a newsvendor with a budget, on the empirical distribution. What was not
seen yet is stood for by a few minutes of a prior, in which rates rise unannounced as real ones do.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.outlook import FLUID

if TYPE_CHECKING:
    from guidevane.control.outlook import Outlook, Rates

FACTORS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.45, 1.6, 1.8, 2.0, 2.5, 3.0)
_AT_LEAST_NOW = tuple(factor for factor in FACTORS if factor >= 1)
_QUANTILES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1.0)
_HOLDS = (1.0, 2.0)
_KEPT, _LOOKED_AT, _SEEN = 3600, 600, 1800
_EARNED = 900
"""Less than the rate now is enough only for who has seen so many seconds (decision 0020): a few minutes of calm teach
that plans bear more than they are for, and the next step, or a service that is 2 % slower, meets full replicas. Nor is
it for who has missed nearly all that may miss: what plans were believed to bear, they did not (decision 0036)."""
_PRIOR = 1.1
_PRIOR_RISES = ((1.0, 284.0), (1.15, 8.0), (1.3, 5.0), (1.6, 3.0))
"""(come over known, seconds): what five minutes of anybody's traffic are taken to be, beside the pipeline's own."""
_SURE, _WORTH = 0.85, 0.98
"""Another rule is taken where it keeps 85 % of the budget and saves 2 % of the cost, or where the old one fails."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """``rates``: what was known of the rate each second; ``slopes``: where its slope led; ``demands``: what came.

    >>> known = Headroom()
    >>> for _ in range(600):
    ...     known = known.after(50.0, 48.0)
    >>> known = known.chosen(0.004, lag_s=20, hold_s=40)
    >>> 45 <= known.ready_for(40) <= 51
    True
    >>> for _ in range(10):
    ...     known = known.after(50.0, 150.0)
    >>> known = known.chosen(0.004, lag_s=20, hold_s=40)
    >>> 100 < known.ready_for(40) <= 150
    True
    """

    rates: tuple[float, ...] = ()
    demands: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    factor: float = _PRIOR
    level_per_s: float = 0.0
    held: float = 1.0
    """How many times the shortest patience something is kept for."""
    trusting: bool = True
    """Whether slopes are followed: they are for half an hour, then where that is worth its price."""
    predicted: float = 0.0
    """The share (0-1) that the rules in force would have missed."""

    def after(self, rate_per_s: float, demand_per_s: float, ahead_per_s: float = 0.0) -> Headroom:
        """Return what is known one second later."""
        return replace(
            self,
            rates=(*self.rates, rate_per_s)[-_KEPT:],
            demands=(*self.demands, demand_per_s)[-_KEPT:],
            slopes=(*self.slopes, ahead_per_s)[-_KEPT:],
        )

    @property
    def usual_per_s(self) -> float:
        """The mean rate of what is remembered; 0 before anything was seen."""
        return sum(self.demands) / len(self.demands) if self.demands else 0.0

    def ready_for(self, hold_s: float) -> float:
        """Return the rate to be ready for now; ``hold_s`` is the shortest patience."""
        span, longer = max(round(hold_s), 1), max(round(hold_s * self.held), 1)
        # A slope is kept for the shortest patience: what it leads to is a rate by then, or was a false alarm.
        slopes = self.slopes[-span:] if self.trusting else ()
        return max((max(self.rates[-longer:]) * self.factor, self.level_per_s, *slopes))

    def replayed(self, lag_s: int, hold_s: float, memory_s: float, seconds: int) -> tuple[Rates, Rates]:
        """Return what came in the last seconds, and what was ready for it by what was known ``lag_s`` before.

        Float64[n] each, one a second; both are taken for less the longer ago they were, by ``memory_s``.
        """
        demands = np.asarray(self.demands[-seconds:])
        rates = np.asarray(self.rates[-seconds:])
        lag, hold = max(lag_s, 1), max(round(hold_s), max(lag_s, 1) + 1)
        if len(rates) <= lag:
            return rates[:0], rates[:0]
        slopes = np.asarray(self.slopes[-seconds:]) * float(self.trusting)
        known = np.maximum(rates, slopes)
        padded = np.concatenate((np.full(hold, known[0]), known))
        known = np.lib.stride_tricks.sliding_window_view(padded, hold - lag + 1)[: len(rates)].max(axis=1)
        faded = np.exp(-np.arange(len(demands) - 1, -1, -1.0) / memory_s)
        return demands * faded, known * faded

    def chosen(
        self, share: float, *, lag_s: float, hold_s: float, outlook: Outlook = FLUID, spent: bool = False
    ) -> Headroom:
        """Return the same past with the cheapest rules for which at most ``share`` (0-1) of its events were missed.

        ``lag_s``: from a decision to when it serves; ``hold_s``: how long one is kept at least. Where the budget is
        nearly ``spent``, more missed than plans believe, and less than the rate now is not enough.
        """
        lag = max(round(lag_s), 1)
        if len(self.rates) <= lag:
            return self
        ways = product(_HOLDS, (True, False) if len(self.rates) >= _SEEN else (True,))
        past = {way: self._past(lag, hold_s, *way) for way in ways}
        now = past[self.held, self.trusting]
        missed = now.missed(outlook, self.factor, self.level_per_s)
        factors = FACTORS if len(self.rates) >= _EARNED and not spent else _AT_LEAST_NOW
        usd, best = self._best(past, share, factors, outlook)
        kept = missed <= share and self.factor >= factors[0]
        if kept and now.usd(outlook, self.factor, self.level_per_s) * _WORTH <= usd:
            return replace(self, predicted=missed)
        return best

    def _best(
        self, past: dict[tuple[float, bool], _Past], share: float, factors: tuple[float, ...], outlook: Outlook
    ) -> tuple[float, Headroom]:
        """Return the cost in $ per hour of the cheapest rules that keep most of a share, and the same past with them.

        Where none do, those of the highest demand at any time: nothing dearer need be looked at.
        """
        levels = sorted({0.0, *np.quantile(np.asarray(self.demands), _QUANTILES).tolist()})
        held, trusting = next(iter(past))
        least = past[held, trusting].usd(outlook, 1.0, levels[-1])
        best = (1.0, levels[-1], held, trusting)
        bearable = share * _SURE
        for (held, trusting), each in past.items():
            # More of a multiple costs more: the search ends with one that is too dear, or enough, without any level.
            for factor in factors:
                usd = each.usd(outlook, factor, 0.0)
                if usd >= least:
                    break
                enough = bisect_left(levels, True, key=lambda level: each.missed(outlook, factor, level) <= bearable)
                if enough == len(levels):
                    continue
                usd = each.usd(outlook, factor, levels[enough])
                if usd < least:
                    least, best = usd, (factor, levels[enough], held, trusting)
                if not enough:
                    break
        factor, level, held, trusting = best
        missed = past[held, trusting].missed(outlook, factor, level)
        return least, replace(self, factor=factor, level_per_s=level, held=held, trusting=trusting, predicted=missed)

    def _past(self, lag: int, hold_s: float, held: float, trusting: bool) -> _Past:  # noqa: FBT001 - a pair's parts
        """Return what would have been ready, second by second, at a factor of one and no level."""
        hold, slope_hold = (max(round(hold_s * each), lag + 1) for each in (held, 1.0))
        stride = 1 + len(self.rates) // _LOOKED_AT
        rates, slopes, demands = (np.asarray(each) for each in (self.rates, self.slopes, self.demands))
        slopes = slopes * float(trusting)

        def highest(known: Rates, until: int, hold: int) -> Rates:
            padded = np.concatenate((np.full(hold, known[0]), known))
            windows = np.lib.stride_tricks.sliding_window_view(padded, hold - until + 1)
            return np.asarray(windows[: len(known)].max(axis=1)[::stride])

        rises, weights = (np.array(each) for each in zip(*_PRIOR_RISES, strict=True))
        prior = np.full(len(rises), float(demands.mean()))
        return _Past(
            np.concatenate((highest(rates, lag, hold), prior)),
            np.concatenate((highest(slopes, lag, slope_hold), prior * 0)),
            np.concatenate((highest(rates, 0, hold), prior)),
            np.concatenate((highest(slopes, 0, slope_hold), prior * 0)),
            np.concatenate((demands[::stride], prior * rises)),
            np.concatenate((np.full(len(demands[::stride]), float(stride)), weights)),
        )


@dataclass(frozen=True, slots=True)
class _Past:
    """Float64[n] each: rates and slopes known in time, and just now; what came; how much each counts."""

    rates: Rates
    slopes: Rates
    rates_now: Rates
    slopes_now: Rates
    demands: Rates
    weights: Rates

    def usd(self, outlook: Outlook, factor: float, level_per_s: float) -> float:
        """Return the mean cost of rules in $ per hour."""
        ordered = np.maximum(np.maximum(self.rates_now * factor, self.slopes_now), level_per_s)
        return float((outlook.usd(ordered) * self.weights).sum() / self.weights.sum())

    def missed(self, outlook: Outlook, factor: float, level_per_s: float) -> float:
        """Return the share of the events that rules miss."""
        served = np.maximum(np.maximum(self.rates * factor, self.slopes), level_per_s)
        come = self.demands * self.weights
        return float((outlook.missed(served, self.demands) * come).sum() / max(float(come.sum()), 1e-9))
