"""Where the last decisions lie: places only, so that hundreds of thousands cost a few megabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guidevane.log import Partition

if TYPE_CHECKING:
    from collections.abc import Sequence


class DecisionIndex:
    """The places (partition, offset) of the last ``size`` decisions on one topic: 28 bytes each, found in a scan.

    >>> index = DecisionIndex("employment.decisions", size=2)
    >>> for offset, decision_id in enumerate(["a", "b", "c"]):
    ...     index.add(decision_id, 0, offset, decided_at_us=1000 + offset)
    >>> index.find("c"), index.find("a"), index.reaches_back_to_us
    ([(Partition(topic='employment.decisions', number=0), 2)], [], 1001)
    """

    def __init__(self, topic: str, *, size: int) -> None:
        self.topic = topic
        self.size = size
        self.total = 0
        self._ids = np.zeros(size, np.int64)
        self._partitions = np.zeros(size, np.int32)
        self._offsets = np.zeros(size, np.int64)
        self._times_us = np.zeros(size, np.int64)

    def __len__(self) -> int:
        return min(self.total, self.size)

    def add(self, decision_id: str, partition: int, offset: int, *, decided_at_us: int) -> None:
        """Remember one place; the oldest is forgotten where there is no room."""
        self.add_all([decision_id], partition, [offset], decided_at_us=[decided_at_us])

    def add_all(
        self, decision_ids: Sequence[str], partition: int, offsets: Sequence[int], *, decided_at_us: Sequence[int]
    ) -> None:
        """Remember places in one partition, in their order: the last ``size`` of them at most."""
        count = len(decision_ids)
        kept = slice(max(count - self.size, 0), count)
        at = np.arange(self.total + kept.start, self.total + count) % self.size
        # 64 bits of a decision's id: whoever reads the record back compares the whole.
        self._ids[at] = [hash(each) for each in decision_ids[kept]]
        self._partitions[at] = partition
        self._offsets[at], self._times_us[at] = offsets[kept], decided_at_us[kept]
        self.total += count

    def find(self, decision_id: str) -> list[tuple[Partition, int]]:
        """Return where decisions with this id may be, in the order of the log: the first counts (0.1 ms)."""
        found = np.flatnonzero(self._ids[: len(self)] == hash(decision_id))
        places = zip(self._partitions[found].tolist(), self._offsets[found].tolist(), strict=True)
        return sorted((Partition(self.topic, number), offset) for number, offset in places)

    @property
    def reaches_back_to_us(self) -> int | None:
        """Return when the oldest decision that is remembered was written, ``None`` where there is none."""
        if not self.total:
            return None
        return int(self._times_us[self.total % self.size if self.total >= self.size else 0])
