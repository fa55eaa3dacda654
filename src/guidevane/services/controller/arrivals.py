"""How many events came in each slot of event time: what a stall or a backlog of ours does not change."""

from __future__ import annotations

from collections import defaultdict

_SLOT_US = 500_000
_SETTLED_US = 1_000_000
"""Rooms tell of themselves once a second: until then a half second is not complete."""
_MOST = 120
_LAG_BAND_S, _LAG_BAND = 0.3, 50.0
_TENTH_US, _MOST_TENTHS = 100_000, 100
_TOLD_US = 2_000_000
"""What a room told when it was a second late is told by then."""


class Arrivals:
    """Counts by slot of event time, each slot told once; what is told late counts with the next.

    >>> arrivals = Arrivals()
    >>> arrivals.since_last(10_000_000, 0.0, 0.0)
    ()
    >>> arrivals.add(9_000_000, 5), arrivals.add(9_500_000, 7)
    (None, None)
    >>> arrivals.since_last(11_000_000, 0.0, 12.0)
    (5, 7)
    >>> arrivals.add(9_500_000, 3)
    >>> arrivals.since_last(12_000_000, 0.0, 12.0)
    (3, 0)
    """

    def __init__(self) -> None:
        self._slots: defaultdict[int, int] = defaultdict(int)
        self._told: int | None = None
        self._lag = 0.0

    def add(self, from_us: int, events: int) -> None:
        """Take in the events of one half second."""
        self._slots[from_us // _SLOT_US] += events

    def since_last(self, now_us: int, lag_records: float | None, rate_per_s: float) -> tuple[int, ...]:
        """Return the counts of the slots that are complete since the last call, in order.

        What stands in the topic unread has come as well, though nobody answered it yet: ``lag_records``, where it
        clearly grew or shrank, is added to the newest slot, or taken from it.
        """
        until = (now_us - _SETTLED_US) // _SLOT_US
        if self._told is None or until - self._told > _MOST or until < self._told:
            # Nobody asked so far, or not for long, or the clock was set back: counting begins now.
            self._told, self._lag = until, lag_records or 0.0
            self._slots = defaultdict(int, {slot: n for slot, n in self._slots.items() if slot >= until})
            return ()
        if until == self._told:
            return ()
        late = sum(self._slots.pop(slot) for slot in [slot for slot in self._slots if slot < self._told])
        counts = [self._slots.pop(slot, 0) for slot in range(self._told, until)]
        counts[0] += late
        self._told = until
        counts[-1] = max(counts[-1] + self._unread(lag_records, rate_per_s), 0)
        return tuple(counts)

    def _unread(self, lag_records: float | None, rate_per_s: float) -> int:
        # A fetch more or less is no backlog.
        if lag_records is None or abs(lag_records - self._lag) <= max(_LAG_BAND, _LAG_BAND_S * rate_per_s):
            return 0
        grown, self._lag = lag_records - self._lag, lag_records
        return round(grown)


class Heaps:
    """Counts by tenth of a second, each told once, two seconds later; what is told later than that is left out.

    What a stall or a backlog of ours made late would look like events that come in heaps.

    >>> heaps = Heaps()
    >>> heaps.since_last(10_000_000)
    ()
    >>> heaps.add(8_200_000, 5), heaps.add(7_900_000, 2)
    (None, None)
    >>> heaps.since_last(10_300_000)
    (0, 0, 5)
    >>> heaps.add(8_200_000, 1), heaps.add(3_600_000_000, 9)
    (None, None)
    >>> heaps.since_last(10_400_000)
    (0,)
    """

    def __init__(self) -> None:
        self._slots: defaultdict[int, int] = defaultdict(int)
        self._told: int | None = None

    def add(self, from_us: int, events: int) -> None:
        """Take in the events of one tenth of a second."""
        slot = from_us // _TENTH_US
        # A room whose clock is ahead tells of what nobody will ask for so soon.
        if self._told is None or 0 <= slot - self._told <= _MOST_TENTHS:
            self._slots[slot] += events

    def since_last(self, now_us: int) -> tuple[int, ...]:
        """Return the counts of the tenths that are complete since the last call, in order."""
        until, begin = (now_us - _TOLD_US) // _TENTH_US, self._told
        self._told = until
        if begin is None or not 0 <= until - begin <= _MOST_TENTHS:
            # Nobody asked so far, or not for long, or the clock was set back: counting begins now.
            self._slots = defaultdict(
                int, {slot: n for slot, n in self._slots.items() if 0 <= slot - until <= _MOST_TENTHS}
            )
            return ()
        return tuple(self._slots.pop(slot, 0) for slot in range(begin, until))
