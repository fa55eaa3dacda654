"""How long to wait before trying again: exponential, fully jittered, bounded."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter (Brooker, 2015): a uniform draw up to a bound that doubles from ``first_s`` to ``most_s``."""

    first_s: float = 0.05
    most_s: float = 2.0

    def bound_s(self, attempt: int) -> float:
        """Return the most that attempt number ``attempt`` (from 0) waits.

        >>> [Backoff(0.1, 1.0).bound_s(n) for n in (0, 1, 10)]
        [0.1, 0.2, 1.0]
        """
        return float(min(self.most_s, self.first_s * 2 ** min(attempt, 32)))

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait after attempt number ``attempt``."""
        return random.uniform(self.first_s / 2, self.bound_s(attempt))
