"""Groups in memory: who reads which partition, and how far."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from guidevane.errors import Fenced, Misconfigured, Ousted
from guidevane.log import Committed, Consumer, Fetch, Listener, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.log.memory.cluster import MemoryLog
    from guidevane.log.memory.partition import MemoryPartition


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
        self._takes = fetch.max_records

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

    async def fetch(self, *, timeout_s: float, most: int | None = None) -> Mapping[Partition, Sequence[Record]]:
        """Return what has arrived, waiting ``timeout_s`` at most."""
        takes = self._takes if most is None else min(self._takes, most)
        found = self._take(takes)
        if found:
            return found
        try:
            async with asyncio.timeout(timeout_s), self.log.arrived:
                await self.log.arrived.wait_for(self._waiting)
        except TimeoutError:
            return {}
        return self._take(takes)

    def _waiting(self) -> bool:
        return any(self._log_of(p).stable > self.positions[p] for p in self.owned - self.paused)

    def _log_of(self, partition: Partition) -> MemoryPartition:
        return self.log.topic(partition.topic)[partition.number]

    def _take(self, takes: int) -> dict[Partition, Sequence[Record]]:
        found: dict[Partition, Sequence[Record]] = {}
        room, space = takes, self.limits.max_bytes
        ready = sorted(self.owned - self.paused)
        self._turn += 1
        # Each fetch starts at the next partition, so that a full one cannot starve the others.
        for partition in ready[self._turn % len(ready) :] + ready[: self._turn % len(ready)] if ready else []:
            start = self.positions[partition]
            records: list[Record] = []
            held, end = self._log_of(partition), start
            for record in held.committed(start):
                size = len(record.value or b"") + len(record.key or b"")
                # One record always passes, however large: otherwise it would block its partition.
                if len(records) == room or (size > space and (records or found)):
                    break
                space -= size
                records.append(record)
                end = record.offset + 1
            else:
                end = max(start, held.stable)
            self.positions[partition] = end
            if records:
                found[partition] = records
                room -= len(records)
            if room <= 0 or space <= 0:
                break
        if found:
            full = sum(map(len, found.values())) >= min(self.limits.max_records, takes)
            waiting = sum(self._log_of(p).stable - self.positions[p] for p in ready) if full else 0
            self._takes = self.limits.takes(waiting)
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

    def position(self, partition: Partition) -> int | None:
        """Return from where the next fetch reads."""
        return self.positions.get(partition)

    async def committed(self, partition: Partition) -> Committed | None:
        """Return the group's place."""
        return self.group.places.get(partition) if self.group else None

    async def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Write the group's place down."""
        if self.group is None:
            raise Misconfigured("a reader has no group to commit for: use a consumer")
        if self.fenced:
            raise Ousted(f"the group does not know {self.instance or 'this member'} any more")
        if not self.owned.issuperset(offsets):
            raise Fenced(f"{self.instance or 'this member'} no longer owns {sorted(set(offsets) - self.owned)}")
        self.group.places.update(offsets)

    def gather(self, fetch: Fetch) -> None:
        """Change how records are gathered."""
        self.limits = fetch

    def ends_seen(self) -> Mapping[Partition, int]:
        """Return the end offset of each owned partition."""
        return {partition: self._log_of(partition).last_seen() for partition in self.owned}

    def held(self) -> Mapping[Partition, int]:
        """Return where each owned partition is held up."""
        return {p: held.stable for p in self.owned if (held := self._log_of(p)).stable < len(held)}

    async def close(self) -> None:
        """Leave the group."""
        if self.group is not None:
            await self.group.leave(self)
        self.owned = frozenset()
