"""The cluster in memory: its topics, its groups, and who may end which transaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.clock import SystemClock
from guidevane.errors import Fenced, Misconfigured
from guidevane.log import Committed, Fetch, Listener, Message, Partition, Record
from guidevane.log.memory.group import Group, MemoryConsumer
from guidevane.log.memory.partition import MemoryPartition
from guidevane.log.memory.producer import Holder, MemoryProducer, MemoryTransactions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.topics import TopicSpec


@dataclass(slots=True)
class _Transaction:
    """What the coordinator knows of one transactional id: who holds it, and which partitions it has open."""

    epoch: int = -1
    partitions: set[Partition] = field(default_factory=set)


class MemoryLog:
    """A cluster of one process. Topics appear with ``partitions`` partitions when first named.

    ``on_send`` is called before each append, so that a test can fail chosen ones.
    """

    def __init__(
        self,
        partitions: int = 1,
        *,
        clock: Clock | None = None,
        on_send: Callable[[str, int, Sequence[Message]], None] | None = None,
    ) -> None:
        self.partitions = partitions
        self.clock = clock or SystemClock()
        self.on_send = on_send
        self.topics: dict[str, list[MemoryPartition]] = {}
        self.groups: dict[str, Group] = {}
        self.arrived = asyncio.Condition()
        self._transactions: dict[str, _Transaction] = {}

    def records(self, topic: str) -> list[Record]:
        """Return what a reader sees on a topic, partition by partition: for looking at outputs."""
        return [record for partition in self.topic(topic) for record in partition.committed()]

    def topic(self, name: str) -> list[MemoryPartition]:
        """Return a topic's partitions with all that was ever written, made on first use."""
        return self.topics.setdefault(name, [MemoryPartition() for _ in range(self.partitions)])

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        instance: str | None = None,
        listener: Listener | None = None,
        fetch: Fetch | None = None,
    ) -> MemoryConsumer:
        """Return a member of ``group``."""
        members = self.group(group)
        return MemoryConsumer(self, tuple(topics), fetch or Fetch(), members, instance, listener)

    def reader(self, topics: Sequence[str], *, from_start: bool = True, fetch: Fetch | None = None) -> MemoryConsumer:
        """Return a consumer of every partition, outside any group."""
        reader = MemoryConsumer(self, tuple(topics), fetch or Fetch(), None, None, None)
        reader.from_start = from_start
        return reader

    def group(self, name: str) -> Group:
        """Return a group, made on first use."""
        return self.groups.setdefault(name, Group(self))

    async def producer(self, *, name: str) -> MemoryProducer:
        """Return a producer; ``name`` is for people."""
        del name
        return MemoryProducer(self)

    async def transactions(
        self, transactional_id: str, *, name: str, timeout_s: float | None = None
    ) -> MemoryTransactions:
        """Return the new holder of a transactional id; time does not end a transaction here, ``expire`` does."""
        del name, timeout_s
        return MemoryTransactions(self, await self.initialise(transactional_id))

    async def read(self, partition: Partition, start: int, stop: int | None = None) -> Sequence[Record]:
        """Return the committed records of ``[start, stop)``."""
        held = self.topic(partition.topic)[partition.number]
        stop = len(held) if stop is None else min(stop, len(held))
        async with self.arrived:
            await self.arrived.wait_for(lambda: held.stable >= stop)
        return list(held.committed(start, stop))

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offset of each partition."""
        return {number: len(records) for number, records in enumerate(self.topic(topic))}

    async def starts(self, topic: str) -> Mapping[int, int]:
        """Return the offset of each partition from which on its records are kept."""
        return {number: records.start for number, records in enumerate(self.topic(topic))}

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that do not exist."""
        for spec in specs:
            have = self.topics.setdefault(spec.name, [MemoryPartition() for _ in range(spec.partitions)])
            if len(have) != spec.partitions:
                raise Misconfigured(
                    f"topic {spec.name} has {len(have)} partitions, the pipeline wants {spec.partitions}: "
                    "recreate the topic, or declare the pipeline with the partitions that exist"
                )

    async def close(self) -> None:
        """Nothing to let go of."""

    async def append(
        self, topic: str, partition: int, messages: Sequence[Message], *, holder: Holder | None = None
    ) -> int:
        """Append and wake every fetch that waits; return the first offset. Raises ``Fenced`` for a holder that was."""
        if self.on_send is not None:
            self.on_send(topic, partition, messages)
        records = self.topic(topic)[partition]
        base, now = len(records), self.clock.now_us()
        if holder is not None:
            self._held(holder).partitions.add(Partition(topic, partition))
            records.open.setdefault(holder.transactional_id, []).extend(range(base, base + len(messages)))
        records.extend(
            Record(topic, partition, base + i, m.key, m.value, m.headers, now) for i, m in enumerate(messages)
        )
        async with self.arrived:
            self.arrived.notify_all()
        return base

    async def initialise(self, transactional_id: str) -> Holder:
        """Return the new holder of an id; the one before is fenced, and what it had open is aborted."""
        held = self._transactions.setdefault(transactional_id, _Transaction())
        held.epoch += 1
        await self._mark(transactional_id, commit=False)
        return Holder(transactional_id, held.epoch)

    async def expire(self, transactional_id: str) -> None:
        """Abort what stands open and fence its holder, as the coordinator does when a transaction's time is over."""
        await self.initialise(transactional_id)

    async def end(
        self, holder: Holder, *, commit: bool, group: str = "", places: Mapping[Partition, Committed] | None = None
    ) -> None:
        """End the transaction: its records are seen and its places hold, or neither. Raises ``Fenced``."""
        self._held(holder)
        if commit and places:
            # As Kafka does for clients without KIP-447: the group is not asked who owns what.
            self.group(group).places.update(places)
        await self._mark(holder.transactional_id, commit=commit)

    def _held(self, holder: Holder) -> _Transaction:
        held = self._transactions[holder.transactional_id]
        if held.epoch != holder.epoch:
            raise Fenced(f"{holder.transactional_id} is held by another: epoch {held.epoch}, ours is {holder.epoch}")
        return held

    async def _mark(self, transactional_id: str, *, commit: bool) -> None:
        """Write the markers that end a transaction; like records, each takes an offset."""
        held = self._transactions[transactional_id]
        for partition in sorted(held.partitions):
            where = self.topic(partition.topic)[partition.number]
            written = where.open.pop(transactional_id)
            where.hidden.update([] if commit else written, [len(where)])
            where.append(Record(partition.topic, partition.number, len(where), None, None))
        held.partitions.clear()
        async with self.arrived:
            self.arrived.notify_all()
