"""How a worker paces itself, and how much may be in flight: paused at the limit, resumed at half."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.log import Fetch
from guidevane.runtime.limit import DeadLetterLimit
from guidevane.runtime.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.log import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a worker paces itself. ``session_s`` is the group's session: past it, others may own our partitions.

    A worker that stops because of ``dead_letters`` says why for ``linger_s`` before it ends, so that whoever asks
    every few seconds hears it. Each ``look_every_s`` it looks whether all partitions of its input can be answered,
    and a partition that an open transaction has held for ``held_s`` is told of, as is one that has acknowledged nothing
    of what was written to it for ``acknowledged_s``. Who starts over waits so long for its own writes: ``settle_s``.
    """

    fetch: Fetch = field(default_factory=Fetch)
    max_records: int = 8192
    max_bytes: int = 64 << 20
    commit_every_s: float = 0.5
    transact_every_s: float = 0.1
    look_every_s: float = 30.0
    held_s: float = 30.0
    acknowledged_s: float = 5.0
    gather_s: float = 0.5
    drain_s: float = 8.0
    settle_s: float = 15.0
    session_s: float = 10.0
    dead_letters: DeadLetterLimit = field(default_factory=DeadLetterLimit)
    linger_s: float = 15.0
    poll_s: float = 0.25
    backoff: Backoff = field(default_factory=lambda: Backoff(0.2, 5.0))


def weight_bytes(records: Sequence[Record]) -> int:
    """Return the memory that records hold, keys and values."""
    return sum(len(r.value or b"") + len(r.key or b"") for r in records)


@dataclass(slots=True)
class Pacing:
    """Counts what is in flight.

    >>> pacing = Pacing(max_records=10)
    >>> pacing.enter(8, 800), pacing.full
    (None, False)
    >>> pacing.enter(2, 200), pacing.full
    (None, True)
    >>> pacing.room
    0
    >>> pacing.leave(4, 400), pacing.full
    (None, True)
    >>> pacing.leave(1, 100), pacing.full
    (None, False)
    """

    max_records: int = 8192
    max_bytes: int = 64 << 20
    records: int = 0
    bytes: int = 0
    full: bool = False

    def enter(self, records: int, size: int) -> None:
        """Something is in flight."""
        self.records += records
        self.bytes += size
        self.full = self.full or self.records >= self.max_records or self.bytes >= self.max_bytes

    def leave(self, records: int, size: int) -> None:
        """Something is answered."""
        self.records -= records
        self.bytes -= size
        if self.records * 2 <= self.max_records and self.bytes * 2 <= self.max_bytes:
            self.full = False

    def clear(self) -> None:
        """Nothing is in flight any more."""
        self.records, self.bytes, self.full = 0, 0, False

    @property
    def room(self) -> int:
        """How many records more may be in flight."""
        return max(self.max_records - self.records, 0)

    @property
    def reason(self) -> str:
        """Say which limit was reached."""
        return "records" if self.records >= self.max_records // 2 else "bytes"
