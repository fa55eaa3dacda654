"""Traffic that is on and off: how often it went quiet, and what that says of what is to come.

Where traffic stops and comes again, what came first says little of how high the next comes: in Azure's recording of
an assistant for code (2023) ten seconds bring 63 events a second, then, each after minutes of nothing, 182, 325 and
454. The fewer there were, the less is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIET: Final = 0.1
"""Less than this share of the highest rate so far is quiet."""
_SELDOM: Final = 0.25
"""With a mean below this share of the highest, traffic is quiet most of the time."""


@dataclass(frozen=True, slots=True)
class Lulls:
    """``count``: how often traffic that was higher went quiet; ``heights``: how high it was before, between and after.

    ``duty``: the mean rate as a share (0-1) of the highest. ``since_s``: how long ago it last went quiet or came again.

    >>> Lulls.of([50.0] * 30 + [0.0] * 60, least_s=20)
    Lulls(count=1, heights=(50.0,), duty=0.33333333333333337, since_s=60)
    >>> Lulls.of(([50.0] * 30 + [0.0] * 60) * 2, least_s=20).recur
    True
    >>> Lulls.of([50.0, 40.0] * 30, least_s=20).count
    0
    """

    count: int = 0
    heights: tuple[float, ...] = ()
    duty: float = 1.0
    since_s: int = 0

    @property
    def recur(self) -> bool:
        """Tell whether the traffic is on and off: it went quiet more than once, or is quiet most of the time."""
        return self.count > 1 or (self.count == 1 and self.duty < _SELDOM)

    @classmethod
    def of(cls, per_s: Sequence[float], *, least_s: float) -> Lulls:
        """Return the lulls of at least ``least_s`` seconds in the rates of so many seconds, the last one going on."""
        rates = np.asarray(per_s)
        if not rates.size:
            return cls()
        highest = np.maximum.accumulate(rates)
        turns = np.flatnonzero(np.diff(rates < QUIET * highest, prepend=False))
        # Turns alternate, and the first begins a lull.
        ends = np.append(turns, rates.size)[1::2]
        long = ends - turns[::2] >= least_s
        bursts = np.split(rates, np.column_stack((turns[::2][long], ends[long])).ravel())[::2]
        return cls(
            count=int(long.sum()),
            heights=tuple(float(each.max()) for each in bursts if each.size),
            duty=float(rates.mean() / max(highest[-1], 1e-9)),
            since_s=rates.size - int(turns[-1]) if turns.size else rates.size,
        )
