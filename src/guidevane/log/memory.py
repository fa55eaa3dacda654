"""A log in memory, with the parts of Kafka that our promises lean on.

Partitions, offsets, groups with rebalancing and notes, static members that come back, fetch
limits, and retention of everything. It keeps the same contract suite as the real log
(``tests/contract/test_log.py``); what it does not have is a network.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

from guidevane.clock import SystemClock
from guidevane.errors import Fenced, GuidevaneError, Misconfigured, Retryable
from guidevane.log import Committed, Consumer, Fetch, Listener, Message, Partition, Producer, Record
from guidevane.log.murmur import murmur2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.topics import TopicSpec


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
        self.topics: dict[str, list[list[Record]]] = {}
        self.groups: dict[str, Group] = {}
        self.arrived = asyncio.Condition()

    def records(self, topic: str) -> list[Record]:
        """Return everything on a topic, partition by partition: for looking at outputs."""
        return list(itertools.chain.from_iterable(self.topic(topic)))

    def topic(self, name: str) -> list[list[Record]]:
        """Return a topic's partitions, made on first use."""
        return self.topics.setdefault(name, [[] for _ in range(self.partitions)])

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
        members = self.groups.setdefault(group, Group(self))
        return MemoryConsumer(self, tuple(topics), fetch or Fetch(), members, instance, listener)

    def reader(self, topics: Sequence[str], *, from_start: bool = True, fetch: Fetch | None = None) -> MemoryConsumer:
        """Return a consumer of every partition, outside any group."""
        reader = MemoryConsumer(self, tuple(topics), fetch or Fetch(), None, None, None)
        reader.from_start = from_start
        return reader

    async def producer(self, *, name: str) -> MemoryProducer:
        """Return a producer; ``name`` is for people."""
        del name
        return MemoryProducer(self)

    async def read(self, partition: Partition, start: int, stop: int | None = None) -> Sequence[Record]:
        """Return the records of ``[start, stop)``."""
        return self.topic(partition.topic)[partition.number][start:stop]

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offset of each partition."""
        return {number: len(records) for number, records in enumerate(self.topic(topic))}

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that do not exist."""
        for spec in specs:
            have = self.topics.setdefault(spec.name, [[] for _ in range(spec.partitions)])
            if len(have) != spec.partitions:
                raise Misconfigured(
                    f"topic {spec.name} has {len(have)} partitions, the pipeline wants {spec.partitions}: "
                    "recreate the topic, or declare the pipeline with the partitions that exist"
                )

    async def close(self) -> None:
        """Nothing to let go of."""

    async def append(self, topic: str, partition: int, messages: Sequence[Message]) -> int:
        """Append and wake every fetch that waits; return the first offset."""
        if self.on_send is not None:
            self.on_send(topic, partition, messages)
        records = self.topic(topic)[partition]
        base, now = len(records), self.clock.now_us()
        records.extend(
            Record(topic, partition, base + i, m.key, m.value, m.headers, now) for i, m in enumerate(messages)
        )
        async with self.arrived:
            self.arrived.notify_all()
        return base


class Group:
    """The members of one group, and its places. Assignment is by range over the members in order of joining."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.members: list[MemoryConsumer] = []
        self.places: dict[Partition, Committed] = {}

    async def join(self, member: MemoryConsumer) -> None:
        """Add a member; one with the same instance name is replaced, as Kafka's static membership does."""
        stale = [m for m in self.members if m.instance is not None and m.instance == member.instance]
        for old in stale:
            self.members.remove(old)
            old.owned = frozenset()
            old.fenced = True
        self.members.append(member)
        await self.rebalance()

    async def leave(self, member: MemoryConsumer) -> None:
        """Remove a member, told first so that it can finish and commit."""
        if member in self.members:
            await member.revoke()
            self.members.remove(member)
            await self.rebalance()

    def evict(self, member: MemoryConsumer) -> None:
        """Remove a member that does not answer (its session ended): it is not told."""
        self.members.remove(member)
        member.fenced = True

    async def rebalance(self) -> None:
        """Revoke everything, then deal the partitions out again (Kafka's eager protocol)."""
        for member in list(self.members):
            await member.revoke()
        dealt: dict[MemoryConsumer, list[Partition]] = defaultdict(list)
        for topic in sorted({topic for member in self.members for topic in member.topics}):
            takers = [member for member in self.members if topic in member.topics]
            for number in range(len(self.log.topic(topic))):
                dealt[takers[number % len(takers)]].append(Partition(topic, number))
        for member in self.members:
            await member.assign(dealt[member])


class MemoryConsumer(Consumer):
    """A member of a group, or a reader of everything."""

    def __init__(
        self,
        log: MemoryLog,
        topics: tuple[str, ...],
        fetch: Fetch,
        group: Group | None,
        instance: str | None,
        listener: Listener | None,
    ) -> None:
        self.log = log
        self.topics = topics
        self.limits = fetch
        self.group = group
        self.instance = instance
        self.listener = listener
        self.from_start = True
        self.fenced = False
        self.owned: frozenset[Partition] = frozenset()
        self.paused: set[Partition] = set()
        self.positions: dict[Partition, int] = {}
        self._turn = 0

    async def start(self) -> None:
        """Join the group, or take every partition."""
        if self.group is not None:
            await self.group.join(self)
            return
        everything = [Partition(t, n) for t in self.topics for n in range(len(self.log.topic(t)))]
        self.owned = frozenset(everything)
        for partition in everything:
            end = len(self.log.topic(partition.topic)[partition.number])
            self.positions[partition] = 0 if self.from_start else end

    async def revoke(self) -> None:
        """Take everything away, after the listener has finished with it."""
        if self.owned and self.listener is not None:
            await self.listener.on_revoked(sorted(self.owned))
        self.owned = frozenset()
        self.paused.clear()

    async def assign(self, partitions: Sequence[Partition]) -> None:
        """Hand partitions out, each at the group's place."""
        self.owned = frozenset(partitions)
        places = self.group.places if self.group else {}
        self.positions = {p: places[p].offset if p in places else 0 for p in partitions}
        if self.listener is not None:
            await self.listener.on_assigned(sorted(partitions))

    async def fetch(self, *, timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """Return what has arrived, waiting ``timeout_s`` at most."""
        found = self._take()
        if found:
            return found
        try:
            async with asyncio.timeout(timeout_s), self.log.arrived:
                await self.log.arrived.wait_for(self._waiting)
        except TimeoutError:
            return {}
        return self._take()

    def _waiting(self) -> bool:
        return any(len(self._log_of(p)) > self.positions[p] for p in self.owned - self.paused)

    def _log_of(self, partition: Partition) -> list[Record]:
        return self.log.topic(partition.topic)[partition.number]

    def _take(self) -> dict[Partition, Sequence[Record]]:
        found: dict[Partition, Sequence[Record]] = {}
        room, space = self.limits.max_records, self.limits.max_bytes
        ready = sorted(self.owned - self.paused)
        self._turn += 1
        # Each fetch starts at the next partition, so that a full one cannot starve the others.
        for partition in ready[self._turn % len(ready) :] + ready[: self._turn % len(ready)] if ready else []:
            start = self.positions[partition]
            records: list[Record] = []
            for record in self._log_of(partition)[start : start + room]:
                size = len(record.value or b"") + len(record.key or b"")
                # One record always passes, however large: otherwise it would block its partition.
                if size > space and (records or found):
                    break
                space -= size
                records.append(record)
            if records:
                found[partition] = records
                self.positions[partition] = start + len(records)
                room -= len(records)
            if room <= 0 or space <= 0:
                break
        return found

    def assignment(self) -> frozenset[Partition]:
        """Return what this member owns now."""
        return self.owned

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop fetching these."""
        self.paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetch these again."""
        self.paused.difference_update(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        self.positions[partition] = offset

    async def committed(self, partition: Partition) -> Committed | None:
        """Return the group's place."""
        return self.group.places.get(partition) if self.group else None

    async def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Write the group's place down."""
        if self.group is None:
            raise Misconfigured("a reader has no group to commit for: use a consumer")
        if self.fenced or not self.owned.issuperset(offsets):
            raise Fenced(f"{self.instance or 'this member'} no longer owns {sorted(set(offsets) - self.owned)}")
        self.group.places.update(offsets)

    def gather(self, fetch: Fetch) -> None:
        """Change how records are gathered."""
        self.limits = fetch

    def ends_seen(self) -> Mapping[Partition, int]:
        """Return the end offset of each owned partition."""
        return {partition: len(self._log_of(partition)) for partition in self.owned}

    async def close(self) -> None:
        """Leave the group."""
        if self.group is not None:
            await self.group.leave(self)
        self.owned = frozenset()


class MemoryProducer(Producer):
    """Writes to a :class:`MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self._broken: set[Partition] = set()

    async def post(self, topic: str, partition: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Append all messages in order; what is returned gives the first one's offset."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # As with Kafka's idempotent producer: what comes behind a batch that failed finds the
        # sequence broken, and is refused, for otherwise it would overtake.
        where = Partition(topic, partition)
        if where in self._broken:
            raise Retryable(f"an earlier batch for {topic}/{partition} failed")
        try:
            done.set_result(await self.log.append(topic, partition, messages))
        except GuidevaneError as failed:
            self._broken.add(where)
            done.set_exception(failed)
        return done

    async def send_keyed(self, topic: str, message: Message) -> Partition:
        """Append one message to the partition of its key; one without a key goes to partition 0."""
        count = len(self.log.topic(topic))
        number = (murmur2(message.key) & 0x7FFFFFFF) % count if message.key is not None else 0
        await self.log.append(topic, number, [message])
        return Partition(topic, number)

    async def close(self) -> None:
        """Nothing is buffered."""
