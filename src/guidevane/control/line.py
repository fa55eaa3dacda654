"""Latency against batch size, learned from live batches alone, where nobody measured a profile."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_NOISE = 0.3 * 0.3
"""Variance of the log of one batch's time: on busy cores one batch in three is a third off."""
_PRIOR_SPREAD = 2.0 * 2.0
"""Of the prior's logs: each part may be seven times as large, or a seventh."""
_AT_ONCE = 25
"""Batches of one second are not independent: so many count at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """A batch of b rows takes ``fixed_s + per_row_s`` b: recursive least squares on the log of the latency.

    The two parts are positive, so it is their logs that are learned: the log-latency is linearised about the
    present belief (an extended Kalman filter; Simon, Optimal State Estimation, 2006, section 13.2), with
    exponential forgetting. The prior, 5 ms and 0.2 ms a row, is wide: a few batches of two sizes outweigh it, and of
    what was never seen, one batch size or all larger ones, the prior's proportion is what remains.

    >>> line = Line()
    >>> for _ in range(30):
    ...     line = line.learn(1, 0.011, 20).learn(64, 0.074, 20)
    >>> round(line.fixed_s, 3), round(line.per_row_s, 3)
    (0.01, 0.001)
    """

    fixed_s: float = 0.005
    per_row_s: float = 0.0002
    covariance: tuple[float, float, float] = (_PRIOR_SPREAD, 0.0, _PRIOR_SPREAD)
    batches: float = 0.0
    forgetting: float = 0.999

    def latency_s(self, batch: float) -> float:
        """Return the believed service time of a batch."""
        return self.fixed_s + self.per_row_s * batch

    def learn(self, batch: float, seconds: float, count: int = 1) -> Line:
        """Take in ``count`` batches of about one size and their mean service time; return the new belief."""
        if count < 1 or seconds <= 0 or batch <= 0:
            return self
        weight = min(count, _AT_ONCE)
        forget = self.forgetting**weight
        var_f, cov, var_r = _spread(self.covariance, 1 / forget)
        believed = self.latency_s(batch)
        # How the log of the latency moves with the log of either part: their shares of it.
        share_f, share_r = self.fixed_s / believed, self.per_row_s * batch / believed
        gain_f, gain_r = var_f * share_f + cov * share_r, cov * share_f + var_r * share_r
        total = share_f * gain_f + share_r * gain_r + _NOISE / weight
        off = min(max(math.log(seconds / believed), -2.0), 2.0)
        return replace(
            self,
            fixed_s=self.fixed_s * math.exp(min(max(gain_f / total * off, -2.0), 2.0)),
            per_row_s=self.per_row_s * math.exp(min(max(gain_r / total * off, -2.0), 2.0)),
            covariance=(
                var_f - gain_f * gain_f / total,
                cov - gain_f * gain_r / total,
                var_r - gain_r * gain_r / total,
            ),
            batches=self.batches * forget + count,
        )

    def doubted(self) -> Line:
        """Return the same line with the prior's doubt: another model answers, and is to be learned soon."""
        return replace(self, covariance=(_PRIOR_SPREAD, 0.0, _PRIOR_SPREAD), batches=0.0)


def _spread(covariance: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    """Return a covariance that doubt has made ``factor`` times as large, no part of it larger than the prior's."""
    var_f, cov, var_r = covariance
    grow_f, grow_r = (min(factor, _PRIOR_SPREAD / each) if each > 0 else factor for each in (var_f, var_r))
    # Both parts grow by their own factor: the correlation stays, so it stays a covariance.
    return var_f * grow_f, cov * math.sqrt(grow_f * grow_r), var_r * grow_r
