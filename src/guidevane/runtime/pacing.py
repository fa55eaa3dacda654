"""How much may be in flight: bounded in records and bytes, paused at the limit, resumed at half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.log import Record


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
    def reason(self) -> str:
        """Say which limit was reached."""
        return "records" if self.records >= self.max_records // 2 else "bytes"
