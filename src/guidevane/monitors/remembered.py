"""What the label join remembers of each event, and its rows on paper: written once each, not all of them each time."""

from __future__ import annotations

from collections import Counter, OrderedDict
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guidevane.monitors.monitor import State

Row = tuple[Any, ...]
"""What is written of an entry: all of it, its label and revision alone, or no more than its number: it is gone."""

UNWRITTEN: Final = -1
"""The page of what stands on none yet."""
_GONE: Final = -2
_WHOLE: Final = 6


class Held(NamedTuple):
    """A label that was taken: its value and when it became known."""

    value: float
    at_us: int | None


class Entry:
    """One event: until when it is remembered, what was decided, what is true, which outcome was emitted last.

    ``number`` counts entries as they come; ``page`` is where its row stands, if it does.
    """

    __slots__ = ("at_us", "decision", "event_id", "label", "number", "page", "revision")

    def __init__(
        self, number: int, event_id: str, at_us: int, decision: tuple[Any, ...] | None, label: Held | None
    ) -> None:
        self.number = number
        self.event_id = event_id
        self.at_us = at_us
        self.decision = decision
        self.label = label
        self.revision = -1
        self.page = UNWRITTEN

    def row(self) -> Row:
        """Return all of it."""
        # A plain tuple, because JSON writers differ about named ones.
        label = self.label
        return self.number, self.event_id, self.at_us, self.decision, label and tuple(label), self.revision

    def change(self) -> Row:
        """Return what can be another than its row that stands somewhere says."""
        if self.page == _GONE:
            return (self.number,)
        return self.number, self.label and tuple(self.label), self.revision


class Remembered:
    """Events that were decided, and labels that wait for a decision; who came first leaves first.

    Rows of what is new or another are handed out page by page; what stands on a page is never handed out again unless
    it changes, or the page shall be given up.

    >>> some = Remembered()
    >>> for event_id, label in (("e1", 1.0), ("e2", 0.0)):
    ...     _ = some.add(some.waiting, event_id, 7, None, Held(label, None))
    >>> some.rows(0, most=9)
    [(0, 'e1', 7, None, (1.0, None), -1), (1, 'e2', 7, None, (0.0, None), -1)]
    >>> some.relabel(some.waiting["e2"], Held(1.0, 9))
    >>> some.rows(0, most=9), some.rows(0, most=9)
    ([(1, (1.0, 9), -1)], [])
    """

    def __init__(self) -> None:
        # Ordered, because a dict takes ever longer to find its first key while keys leave at the front.
        self.decided: OrderedDict[str, Entry] = OrderedDict()
        # Labels without a decision; apart, so that neither kind holds back the expiry of the other.
        self.waiting: OrderedDict[str, Entry] = OrderedDict()
        self._next = 0
        # What has no row yet, and what is another now than its row says.
        self._unwritten: list[Entry] = []
        self._changed: list[Entry] = []
        self._standing: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self.decided) + len(self.waiting)

    def add(
        self,
        kind: OrderedDict[str, Entry],
        event_id: str,
        at_us: int,
        decision: tuple[Any, ...] | None,
        label: Held | None,
    ) -> Entry:
        """Remember one more, as the last of its kind."""
        entry = kind[event_id] = Entry(self._next, event_id, at_us, decision, label)
        self._next += 1
        self._unwritten.append(entry)
        return entry

    def add_decided(self, event_ids: Sequence[str], at_us: Sequence[int], decisions: Sequence[tuple[Any, ...]]) -> None:
        """Remember many decisions without a label, as :meth:`add` would one after the other."""
        entries = list(map(Entry, count(self._next), event_ids, at_us, decisions, repeat(None)))
        self.decided.update(zip(event_ids, entries, strict=True))
        self._next += len(entries)
        self._unwritten += entries

    def relabel(self, entry: Entry, label: Held) -> None:
        """Give an entry another label; a revision that goes with it may be counted up until rows are asked for."""
        entry.label = label
        if entry.page >= 0:
            self._changed.append(entry)

    def take_waiting(self, event_id: str) -> Entry | None:
        """Return the label that waits for this decision; it waits no longer."""
        entry = self.waiting.pop(event_id, None)
        if entry is not None:
            if entry.page >= 0:
                # It leaves from the middle: its row would bring it back.
                self._changed.append(entry)
            self._leave(entry)
        return entry

    def drop_first(self, kind: OrderedDict[str, Entry]) -> Entry:
        """Forget the first one of its kind, and return it."""
        _, entry = kind.popitem(last=False)
        self._leave(entry)
        return entry

    def _leave(self, entry: Entry) -> None:
        if entry.page >= 0:
            self._standing[entry.page] -= 1
        entry.page = _GONE

    def rows(self, page: int, most: int) -> list[Row]:
        """Return up to ``most`` rows of what is another since the last call; they are taken to stand on ``page`` now.

        Read in the order in which they were asked for, they are what is remembered, with the :meth:`head` of
        a moment when no more were to be had.
        """
        found: list[Row] = []
        while self._unwritten and not found:
            new, self._unwritten = self._unwritten[:most], self._unwritten[most:]
            for entry in new:
                # Who came and went between two calls is no row.
                if entry.page == UNWRITTEN:
                    entry.page = page
                    found.append(entry.row())
        self._standing[page] += len(found)
        while self._changed and not found:
            changed, self._changed = self._changed[:most], self._changed[most:]
            # Of one whose page is to be given up, all is written anew.
            found = [entry.change() for entry in changed if entry.page != UNWRITTEN]
        return found

    def standing(self, page: int) -> int:
        """Return how many would be forgotten with a page."""
        return self._standing[page]

    def lift(self, page: int) -> None:
        """Have all that stands on a page written anew, so that the page can be given up. It must be the oldest one."""
        left = self._standing.pop(page, 0)
        for kind in (self.decided, self.waiting):
            for entry in kind.values():
                if not left:
                    return
                if entry.page == page:
                    entry.page = UNWRITTEN
                    self._unwritten.append(entry)
                    left -= 1

    def head(self) -> State:
        """Return what must be known beside the rows."""
        first = [next(iter(kind.values())).number if kind else self._next for kind in (self.decided, self.waiting)]
        return {"next": self._next, "first": first}

    def whole(self) -> list[Row]:
        """Return the row of everything that is remembered, whatever stands where."""
        return [entry.row() for kind in (self.decided, self.waiting) for entry in kind.values()]

    def restore(self, head: State, pages: Iterable[tuple[int, Sequence[Sequence[Any]]]]) -> None:
        """Remember what a head says, and the rows of each page, in the order in which they were written."""
        entries: dict[int, Entry] = {}
        for page, rows in pages:
            for number, *rest in rows:
                if not rest:
                    entries.pop(number, None)
                elif len(rest) == _WHOLE - 1:
                    entries[number] = _revived(page, number, *rest)
                elif entry := entries.get(number):
                    entry.label, entry.revision = rest[0] and Held(*rest[0]), rest[1]
        self.decided.clear()
        self.waiting.clear()
        self._next, self._unwritten, self._changed, self._standing = head["next"], [], [], Counter()
        first_decided, first_waiting = head["first"]
        for number in sorted(entries):
            entry = entries[number]
            kind, first = (self.decided, first_decided) if entry.decision else (self.waiting, first_waiting)
            # Who leaves at the front leaves without a row: whatever comes before the first one is gone.
            if number < first:
                continue
            kind[entry.event_id] = entry
            if entry.page == UNWRITTEN:
                self._unwritten.append(entry)
            else:
                self._standing[entry.page] += 1


def _revived(
    page: int,
    number: int,
    event_id: str,
    at_us: int,
    decision: Sequence[Any] | None,
    label: Sequence[Any] | None,
    revision: int,
) -> Entry:
    kept, held = tuple(decision) if decision else None, Held(*label) if label else None
    entry = Entry(number, event_id, at_us, kept, held)
    entry.page, entry.revision = page, revision
    return entry
