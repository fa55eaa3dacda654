"""When events happened: counts by half second of event time, which a stall or a backlog does not change.

What a stage answers in one second after a stall happened over several: by event time, the rate
stays what the producers made of it, and its dispersion can be told from 0.5 s counts. Whether they come in
heaps, as from producers that write a batch a second, only shorter slots tell: those of the last seconds are
counted by tenth, too.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from guidevane.events import Arrived, ArrivedTenth

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    _Counts: TypeAlias = defaultdict[tuple[str, int], int]

SLOT_US: Final = 500_000
SLOTS: Final = 120
"""A minute: who writes any time into an event must not grow what a room tells of itself."""
TENTH_US: Final = 100_000
TENTHS: Final = 50
"""What is older by event time came late: it says nothing of how events come."""


class Arrivals:
    """Counts of one instance, since they were last drained.

    >>> arrivals = Arrivals()
    >>> arrivals.add("ingest", np.array([10.1e6, 10.4e6, 10.6e6, -90e6]), now_us=11_000_000)
    >>> [(each["from_us"], each["events"]) for each in arrivals.drain()]
    [(-48500000, 1), (10000000, 2), (10500000, 1)]
    >>> [(each["from_us"], each["events"]) for each in arrivals.drain_tenths()]
    [(10100000, 1), (10400000, 1), (10600000, 1)]
    """

    def __init__(self) -> None:
        self._counts: _Counts = defaultdict(int)
        self._tenths: _Counts = defaultdict(int)

    def add(self, stage: str, happened_us: NDArray[np.float64], now_us: int) -> None:
        """Take in the event times of a batch, in microseconds; what is not of the last minute counts at its edge."""
        newest = now_us // SLOT_US
        # Bounded before it is divided: an event time may be anything that a float64 holds.
        bounded = np.clip(happened_us, (newest - SLOTS + 1) * SLOT_US, newest * SLOT_US)
        _count(self._counts, stage, bounded, SLOT_US)
        oldest_us = (now_us // TENTH_US - TENTHS + 1) * TENTH_US
        recent = happened_us[(happened_us >= oldest_us) & (happened_us <= now_us)]
        if len(recent):
            _count(self._tenths, stage, recent, TENTH_US)

    def drain(self) -> list[Arrived]:
        """Return what was added since the last call, by stage and time."""
        counts, self._counts = self._counts, defaultdict(int)
        return [
            Arrived(stage=stage, from_us=slot * SLOT_US, events=events)
            for (stage, slot), events in sorted(counts.items())
        ]

    def drain_tenths(self) -> list[ArrivedTenth]:
        """Return what of that was of the last seconds, by tenth of a second."""
        counts, self._tenths = self._tenths, defaultdict(int)
        return [
            ArrivedTenth(stage=stage, from_us=slot * TENTH_US, events=events)
            for (stage, slot), events in sorted(counts.items())
        ]


def _count(into: _Counts, stage: str, happened_us: NDArray[np.float64], slot_us: int) -> None:
    slots = (happened_us // slot_us).astype(np.int64)
    first = int(slots[0])
    if (slots == first).all():
        # A batch spans some milliseconds, mostly.
        into[stage, first] += len(slots)
        return
    for slot, count in zip(*(each.tolist() for each in np.unique(slots, return_counts=True)), strict=True):
        into[stage, slot] += count
