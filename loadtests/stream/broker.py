"""The one broker of a run: topics made and removed, ends asked for, answers read back when the clock has stopped."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtests.stream.contender import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTITIONS = 12
_READ_WITHIN_S = 60.0
_FOR_ALL = 10.0


class Answer(NamedTuple):
    """One record that a contender wrote; ``at_us`` is the broker's own time, in whole milliseconds."""

    at_us: int
    value: bytes


class Broker:
    """What the conductor asks of Kafka. It reads nothing while a contender is being measured, but where topics end."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        # Topics that come and go, and a broker that ends, make the client talk; what matters is raised.
        told: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._admin = AdminClient(told)
        self._reader = Consumer({**told, "group.id": "bench-reader", "enable.auto.commit": False})

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()

    def make(self, events: str, decisions: str, *beside: str) -> None:
        """Create a contender's topics; the broker stamps what it decides."""
        stamped = {"message.timestamp.type": "LogAppendTime"}
        topics = [NewTopic(name, PARTITIONS, 1) for name in (events, *beside)]
        topics.append(NewTopic(decisions, PARTITIONS, 1, config=stamped))
        for made in self._admin.create_topics(topics).values():
            made.result(_FOR_ALL)
        self._until(lambda: all(self._exists(topic) for topic in (events, decisions, *beside)))

    def clear(self) -> None:
        """Remove every topic and group that is not the broker's own, so that the next contender starts afresh."""
        topics = [name for name in self._admin.list_topics(timeout=_FOR_ALL).topics if not name.startswith("__")]
        if topics:
            for gone in self._admin.delete_topics(topics, operation_timeout=_FOR_ALL).values():
                with suppress(KafkaException):
                    gone.result(_FOR_ALL)
            self._until(lambda: not any(self._exists(topic) for topic in topics))
        groups = [each.group_id for each in self._admin.list_consumer_groups().result(_FOR_ALL).valid]
        if groups:
            for gone in self._admin.delete_consumer_groups(groups).values():
                # A member that was killed may still be counted; nobody uses its name again.
                with suppress(KafkaException):
                    gone.result(_FOR_ALL)

    def ends(self, topic: str) -> list[int]:
        """Return where each partition ends; a topic that was just made has no leaders for a moment.

        Raises:
            Failed: no answer in time.
        """
        by_s = time.monotonic() + _FOR_ALL
        while True:
            try:
                return [
                    self._reader.get_watermark_offsets(TopicPartition(topic, number), timeout=_FOR_ALL)[1]
                    for number in range(PARTITIONS)
                ]
            except KafkaException as unknown:
                if time.monotonic() > by_s:
                    raise Failed(f"{topic}: the broker does not say where it ends: {unknown}") from unknown
                time.sleep(0.1)
                # One that had this name and was removed may be remembered as gone.
                self._reader.list_topics(topic, timeout=_FOR_ALL)

    def read(self, topic: str, start: list[int], stop: list[int]) -> Iterator[Answer]:
        """Yield what lies in ``[start, stop)`` of each partition."""
        wanted = sum(stop) - sum(start)
        if not wanted:
            return
        self._reader.assign([TopicPartition(topic, n, start[n]) for n in range(PARTITIONS) if stop[n] > start[n]])
        by_s = time.monotonic() + _READ_WITHIN_S
        try:
            while wanted:
                for found in self._reader.consume(10_000, timeout=1.0):
                    partition, offset, value = found.partition(), found.offset(), found.value()
                    if found.error() is None and (offset or 0) < stop[partition or 0]:
                        wanted -= 1
                        yield Answer(found.timestamp()[1] * 1000, value or b"")
                if time.monotonic() > by_s:
                    raise Failed(f"{topic}: {wanted} records could not be read back in {_READ_WITHIN_S:.0f} s")
        finally:
            self._reader.unassign()

    def _exists(self, topic: str) -> bool:
        found = self._admin.list_topics(timeout=_FOR_ALL).topics.get(topic)
        return found is not None and all(p.leader >= 0 for p in found.partitions.values())

    def _until(self, done: Callable[[], bool]) -> None:
        by_s = time.monotonic() + _FOR_ALL
        while not done():
            if time.monotonic() > by_s:
                raise Failed("the broker's topics did not come or go in time: see its log")
            time.sleep(0.1)
