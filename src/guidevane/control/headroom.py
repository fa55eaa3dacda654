"""How much more than now to be ready for, learned from the pipeline's own past.

What is started now serves only after its start-up, so being ready for the rate of now is not enough
where rates jump. Two rules are weighed: a multiple of the rate now (``factor``), and a level to be
ready for whatever the rate (``level_per_s``). Both are replayed on what was seen in the last hour, and
the cheapest pair is taken that would have left no more events without a replica than the error
budget has for surprises: a newsvendor with a budget, on the empirical distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

FACTORS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.45, 1.6, 1.8, 2.0, 2.5, 3.0)
_QUANTILES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1.0)
_KEPT = 3600
_PRIOR, _PRIOR_S = 1.15, 300.0


@dataclass(frozen=True, slots=True)
class Headroom:
    """``rates``: what was known of the rate, each second; ``demands``: what came in that second, less its noise.

    >>> known = Headroom()
    >>> for _ in range(600):
    ...     known = known.after(50.0, 48.0)
    >>> known = known.chosen(0.004, lag_s=20, hold_s=40)
    >>> known.factor, known.level_per_s
    (1.0, 0.0)
    >>> for _ in range(10):
    ...     known = known.after(50.0, 150.0)
    >>> known = known.chosen(0.004, lag_s=20, hold_s=40)
    >>> 100 < max(50 * known.factor, known.level_per_s) <= 150
    True
    """

    rates: tuple[float, ...] = ()
    demands: tuple[float, ...] = ()
    factor: float = _PRIOR
    level_per_s: float = 0.0

    def after(self, rate_per_s: float, demand_per_s: float) -> Headroom:
        """Return what is known one second later."""
        return replace(self, rates=(*self.rates, rate_per_s)[-_KEPT:], demands=(*self.demands, demand_per_s)[-_KEPT:])

    def chosen(self, share: float, *, lag_s: float, hold_s: float) -> Headroom:
        """Return the same past with the cheapest rules for which at most ``share`` (0-1) of its events were short.

        ``lag_s``: from a decision to when it serves; ``hold_s``: how long one is kept. What can be said of
        less than five minutes is outweighed by a prior of 15 %.
        """
        lag, hold = max(round(lag_s), 1), max(round(hold_s), round(lag_s) + 1)
        prior = 1 + (_PRIOR - 1) * max(1 - len(self.rates) / _PRIOR_S, 0.0)
        if len(self.rates) <= 2 * lag:
            return replace(self, factor=_PRIOR, level_per_s=0.0)
        rates, demands = np.asarray(self.rates), np.asarray(self.demands)
        padded = np.concatenate((np.full(hold, rates[0]), rates))
        held = np.lib.stride_tricks.sliding_window_view(padded, hold - lag + 1)[: len(rates)].max(axis=1)
        total = max(float(demands.sum()), 1e-9)
        levels = sorted({0.0, *np.quantile(demands, _QUANTILES).tolist()})
        best: tuple[float, float, float] | None = None
        for factor in FACTORS:
            for level in levels:
                ready = np.maximum(held * factor, level)
                if float(np.maximum(demands - ready, 0.0).sum()) <= share * total:
                    found = (float(ready.mean()), factor, level)
                    best = found if best is None else min(best, found)
                    break
        _, factor, level = best if best is not None else (0.0, 1.0, max(levels))
        return replace(self, factor=max(factor, prior), level_per_s=level)
