"""Noticing partitions that take no writes: what is answered there waits, and whoever looks must learn for what."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.clock import Clock
    from guidevane.log import Partition

_SHOWN = 4
_log = logging.getLogger(__name__)


class Unacknowledged:
    """Which partitions, among others, have left what was written to them without an answer for ``within_s``.

    A client tries again for half a minute by itself, without a word; an operator wants to know sooner.
    """

    def __init__(self, clock: Clock, *, within_s: float) -> None:
        self._clock = clock
        self._within_s = within_s
        self._late: dict[str, dict[int, float]] = {}

    def look(self, waiting: Mapping[Partition, float]) -> None:
        """Take note of since when partitions have been waited for; tell the log once of each topic that is late."""
        until_s = self._clock.monotonic_s() - self._within_s
        before, self._late = self._late, {}
        for (topic, number), since_s in sorted(waiting.items()):
            if since_s <= until_s:
                self._late.setdefault(topic, {})[number] = since_s
        for topic in self._late.keys() - before.keys():
            _log.warning("%s", self._said(topic))
        for topic in before.keys() - self._late.keys():
            _log.warning("%s takes writes again, or they were given up", topic)

    @property
    def says(self) -> tuple[str, ...]:
        """Return what a person should look at, one topic each."""
        return tuple(map(self._said, self._late))

    def _said(self, topic: str) -> str:
        late = self._late[topic]
        waited_s = self._clock.monotonic_s() - min(late.values())
        shown = ", ".join(map(str, list(late)[:_SHOWN])) + (
            f" and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""
        )
        return (
            f"{topic} has acknowledged nothing in partition {shown} for {waited_s:.0f} s: a broker is away, or fewer "
            "replicas are in sync than min.insync.replicas; events wait there, and none is lost → guidevane doctor "
            "names the partitions and the brokers"
        )
