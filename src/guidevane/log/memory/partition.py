"""One partition in memory: every record at its offset, and which of them a reader may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.log import Record

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryPartition(list[Record]):
    """Records by offset. Kafka's transactions hide some, and hide what stands behind an open one.

    ``hidden`` holds the offsets of aborted records and of the markers that end transactions;
    ``open`` those written by each transaction that has not ended, by its id. What is before ``start`` was deleted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = 0
        self.hidden: set[int] = set()
        self.open: dict[str, list[int]] = {}

    @property
    def stable(self) -> int:
        """Return the last stable offset: what is before it has been decided on."""
        return min((written[0] for written in self.open.values()), default=len(self))

    def committed(self, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        """Yield the records of ``[start, stop)`` that a reader of committed records sees."""
        for offset in range(max(self.start, start), min(self.stable, len(self) if stop is None else stop)):
            if offset not in self.hidden:
                yield self[offset]

    def last_seen(self) -> int:
        """Return the offset behind the last record that a reader of committed records sees."""
        end = self.stable
        while end and end - 1 in self.hidden:
            end -= 1
        return end
