"""How much more than now to be ready for, learned from the pipeline's own past.

What is started now serves only after its start-up. So what counts is by how much the rate within that
time exceeded what was known when it began. The distribution of that is remembered, slowly
forgotten, and the headroom is the least for which the events that it would have left without
a replica stay within the part of the error budget that is set aside for surprises: a newsvendor
who may run out a given share of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_BINS = 60
_WIDTH = 0.05
_PRIOR = (54.0, *([0.0] * 4), 6.0, *([0.0] * (_BINS - 6)))


@dataclass(frozen=True, slots=True)
class Headroom:
    """``weights[i]``: how much of the past had a surprise of e^(i x 0.05) (bin 0: none).

    >>> known = Headroom()
    >>> for _ in range(3000):
    ...     known = known.learn(1.0)
    >>> known.factor(0.005)
    1.0
    >>> for _ in range(100):
    ...     known = known.learn(1.5)
    >>> 1.1 < known.factor(0.005) <= 1.5
    True
    """

    weights: tuple[float, ...] = field(default=_PRIOR)
    forgetting: float = 0.9995

    def learn(self, ratio: float) -> Headroom:
        """Take in one moment: the highest rate within the start-up time, over the rate known when it began."""
        slot = min(max(round(math.log(max(ratio, 1e-9)) / _WIDTH), 0), _BINS - 1)
        weights = [each * self.forgetting for each in self.weights]
        weights[slot] += 1.0
        return Headroom(tuple(weights), self.forgetting)

    def factor(self, share: float) -> float:
        """Return by what to multiply the rate so that at most ``share`` (0-1) of the events find no replica."""
        return math.exp(_WIDTH * next((at for at in range(_BINS) if self.short(at) <= share), _BINS - 1))

    def short(self, at: int) -> float:
        """Return the share of events without a replica, were one ready for e^(at x 0.05) times the rate."""
        total = sum(self.weights)
        over = sum(
            weight * (1 - math.exp((at - slot) * _WIDTH))
            for slot, weight in enumerate(self.weights[at + 1 :], at + 1)
            if weight > 0
        )
        return over / total
