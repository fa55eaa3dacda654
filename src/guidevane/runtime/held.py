"""Noticing partitions that an open transaction holds up: what stands behind its first record, nobody may read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.clock import Clock
    from guidevane.log import Partition

_WITHIN_S = 30.0
_log = logging.getLogger(__name__)


class Held:
    """Which partitions have stood at one offset for ``within_s``: a transaction of that length is no longer usual."""

    def __init__(self, clock: Clock, *, within_s: float = _WITHIN_S) -> None:
        self._clock = clock
        self._within_s = within_s
        self._since: dict[Partition, tuple[int, float]] = {}
        self._told: set[Partition] = set()

    def look(self, held: Mapping[Partition, int]) -> None:
        """Take note of where owned partitions are held now; tell of each once, when it has been for too long."""
        now_s = self._clock.monotonic_s()
        before, self._since = self._since, {}
        for partition, offset in held.items():
            at = before.get(partition)
            self._since[partition] = at if at is not None and at[0] == offset else (offset, now_s)
        late = self._late()
        for partition in sorted(late - self._told):
            _log.warning("%s", self._said(partition))
        for partition in sorted(self._told - late):
            _log.warning("%s/%d is no longer held up, or no longer ours", *partition)
        self._told = late

    def partitions(self, topic: str) -> int:
        """Return how many partitions of a topic have been held for too long."""
        return sum(partition.topic == topic for partition in self._told)

    @property
    def says(self) -> tuple[str, ...]:
        """Return what a person should look at, one partition each."""
        return tuple(self._said(partition) for partition in sorted(self._told))

    def _late(self) -> set[Partition]:
        until_s = self._clock.monotonic_s() - self._within_s
        return {partition for partition, (_, since_s) in self._since.items() if since_s <= until_s}

    def _said(self, partition: Partition) -> str:
        topic, number = partition
        offset = self._since[partition][0]
        return (
            f"{topic}/{number} is held up at offset {offset}: a producer's transaction that began there has not ended, "
            "and what stands behind it waits → let that producer commit or abort; where it is gone: "
            f"kafka-transactions.sh abort --topic {topic} --partition {number} --start-offset {offset}"
        )
