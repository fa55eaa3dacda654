"""Which events were accepted lately, so that who comes twice is answered once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.runtime.stage import REDRIVE
from guidevane.services.passing import EVENT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guidevane.log import Record


@dataclass(slots=True)
class Window:
    """The event ids that were accepted last, ``size`` a partition: what is in it again is a duplicate.

    An id counts wherever it comes again: who sends twice without a key sends to two partitions.

    >>> window = Window(2)
    >>> for event_id in ("a", "b", "c"):
    ...     window.add(0, event_id)
    >>> "a" in window, "c" in window
    (False, True)
    """

    size: int
    ids: dict[int, OrderedDict[str, None]] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self.holders

    def knows_any(self, event_ids: Iterable[str]) -> bool:
        """Tell whether one of these is remembered."""
        return not self.holders.keys().isdisjoint(event_ids)

    def add(self, partition: int, event_id: str) -> None:
        """Remember an id; the oldest of its partition goes where there are too many."""
        self.add_all({event_id: partition})

    def add_all(self, accepted: Mapping[str, int]) -> None:
        """Remember ids in their order, each with its partition; of too many of a partition, the oldest go."""
        self.holders |= accepted
        by_partition: dict[int, list[str]] = {}
        for event_id, partition in accepted.items():
            by_partition.setdefault(partition, []).append(event_id)
        for partition, new in by_partition.items():
            ids = self.ids.setdefault(partition, OrderedDict())
            ids.update(dict.fromkeys(new))
            for _ in range(len(ids) - self.size):
                self._forget(partition, ids.popitem(last=False)[0])

    def recall(self, partition: int, outputs: Sequence[Record]) -> None:
        """Start a partition over with what the accepted topic says was accepted last."""
        for event_id in self.ids.pop(partition, ()):
            self._forget(partition, event_id)
        for record in outputs:
            written = record.header(EVENT_ID)
            if written is not None:
                letter = record.header(REDRIVE)
                named = None if letter is None else letter.decode(errors="replace")
                self.add(partition, known_as(written.decode(errors="replace"), named))

    def _forget(self, partition: int, event_id: str) -> None:
        if self.holders.get(event_id) == partition:
            del self.holders[event_id]


def known_as(event_id: str, letter: str | None) -> str:
    """Return by what an event is known again: redriven, it is another than when it was accepted and then died.

    >>> known_as("e1", None), known_as("e1", "3/42")
    ('e1', 'e1 3/42')
    """
    return event_id if letter is None else f"{event_id} {letter}"
