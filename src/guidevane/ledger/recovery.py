"""How long it took until all was well again, from the outcomes themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guidevane.ledger.ledger import Entry

WELL_FOR_S = 1.0
PROMPT_S = 1.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """``seconds`` from the end of the fault to the first of ``WELL_FOR_S`` in which every event that was due went well.

    ``None`` where that never came. ``unwell`` counts the events that did not go well.
    """

    seconds: float | None
    unwell: int


def recovery(entries: Iterable[Entry], *, began_us: int, over_us: int) -> Recovery:
    """Return when all was well again after a fault that began and was over at these times.

    An event goes well that is decided in full (no member missing) within ``PROMPT_S`` of when it was due.
    Those that must die are left out.

    >>> from guidevane.ledger.ledger import Entry
    >>> def decided(due_s, after_s):
    ...     return Entry(int(due_s * 1e6), decided_us=int((due_s + after_s) * 1e6), outcome="full")
    >>> slow = [decided(10 + i / 10, 5.0 - i / 10) for i in range(50)]
    >>> well = [decided(15 + i / 10, 0.05) for i in range(20)]
    >>> recovery(slow + well, began_us=10_000_000, over_us=12_000_000)
    Recovery(seconds=2.0, unwell=40)
    """
    due = sorted((entry.due_us, _well(entry)) for entry in entries if not entry.expects and entry.due_us >= began_us)
    unwell = sum(not well for _, well in due)
    start: int | None = None
    for at, well in due:
        start = None if not well else at if start is None else start
        if start is not None and at - start >= WELL_FOR_S * 1e6:
            return Recovery(round(max(0.0, (start - over_us) / 1e6), 3), unwell)
    return Recovery(None, unwell)


def _well(entry: Entry) -> bool:
    if entry.decided_us is None:
        return False
    return entry.outcome == "full" and entry.decided_us - entry.due_us <= PROMPT_S * 1e6
