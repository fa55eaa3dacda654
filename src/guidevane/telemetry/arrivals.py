"""When events happened: counts by half second of event time, which a stall or a backlog does not change.

What a stage answers in one second after a stall happened over several: by event time, the rate
stays what the producers made of it, and its dispersion can be told from 0.5 s counts.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from guidevane.events import Arrived

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOT_US: Final = 500_000
SLOTS: Final = 120
"""A minute: who writes any time into an event must not grow what a room tells of itself."""


class Arrivals:
    """Counts of one instance, since they were last drained.

    >>> arrivals = Arrivals()
    >>> arrivals.add("ingest", np.array([10.1e6, 10.4e6, 10.6e6, -90e6]), now_us=11_000_000)
    >>> [(each["from_us"], each["events"]) for each in arrivals.drain()]
    [(-48500000, 1), (10000000, 2), (10500000, 1)]
    """

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int], int] = defaultdict(int)

    def add(self, stage: str, happened_us: NDArray[np.float64], now_us: int) -> None:
        """Take in the event times of a batch, in microseconds; what is not of the last minute counts at its edge."""
        newest = now_us // SLOT_US
        # Bounded before it is divided: an event time may be anything that a float64 holds.
        bounded = np.clip(happened_us, (newest - SLOTS + 1) * SLOT_US, newest * SLOT_US)
        slots = (bounded // SLOT_US).astype(np.int64)
        first = int(slots[0])
        if (slots == first).all():
            # A batch spans some milliseconds, mostly.
            self._counts[stage, first] += len(slots)
            return
        for slot, count in zip(*(each.tolist() for each in np.unique(slots, return_counts=True)), strict=True):
            self._counts[stage, slot] += count

    def drain(self) -> list[Arrived]:
        """Return what was added since the last call, by stage and time."""
        counts, self._counts = self._counts, defaultdict(int)
        return [
            Arrived(stage=stage, from_us=slot * SLOT_US, events=events)
            for (stage, slot), events in sorted(counts.items())
        ]
