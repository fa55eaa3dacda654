"""Reading from Kafka: members of groups, and readers of everything."""

from __future__ import annotations

import asyncio
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from guidevane.errors import Fenced, Misconfigured, Ousted, Retryable
from guidevane.log import Committed, Consumer, Fetch, Listener, Partition, Record, records_of
from guidevane.log.kafka.connection import Connection, started
from guidevane.log.kafka.fetched import hand_out_as_parsed
from guidevane.log.kafka.header_names import tolerate
from guidevane.log.kafka.refusals import trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NO_LONGER_OURS = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
# A fetch returns when this much has gathered, or when its wait is over: never reached by small
# events, so that the wait alone decides how many ride together (decision 0003).
_GATHER_BYTES = 1 << 20
# Who reads formed batches is answered at the first byte: the broker looks after whom to answer when it has taken the
# whole of a producer's request, so that what was sent together comes together.
_IDLE_MS = 500
_FIELDS = attrgetter("offset", "key", "value", "headers", "timestamp")


class KafkaConsumer(Consumer):
    """A member of a group, or a reader of everything."""

    def __init__(
        self,
        connection: Connection,
        topics: tuple[str, ...],
        fetch: Fetch,
        group: str | None,
        instance: str | None,
        listener: Listener | None,
    ) -> None:
        self.connection = connection
        self.topics = topics
        self.limits = fetch
        self.group = group
        self.instance = instance
        self.listener = listener
        self.from_start = True
        self._client: AIOKafkaConsumer | None = None
        self._handed_out: dict[TopicPartition, int] = {}
        self._taken_s = 0.0
        self._takes = fetch.max_records

    @property
    def client(self) -> AIOKafkaConsumer:
        """Return the client; a consumer must be started before it is used."""
        if self._client is None:
            raise Misconfigured(f"the consumer of {', '.join(self.topics)} was not started: await start() first")
        return self._client

    async def start(self) -> None:
        """Connect; join the group, or take every partition."""
        session_ms = int(self.connection.session_timeout_s * 1000)
        grouped: dict[str, Any] = {}
        if self.group is not None:
            grouped = {
                "group_id": self.group,
                "group_instance_id": self.instance,
                "session_timeout_ms": session_ms,
                "heartbeat_interval_ms": max(session_ms // 6, 300),
                "max_poll_interval_ms": 300_000,
            }
        client = AIOKafkaConsumer(
            **self.connection.options(),
            **grouped,
            client_id=self.instance or "guidevane",
            enable_auto_commit=False,
            auto_offset_reset="earliest" if self.from_start else "latest",
            fetch_min_bytes=1 if self.limits.formed else _GATHER_BYTES,
            fetch_max_wait_ms=_wait_ms(self.limits),
            fetch_max_bytes=self.limits.max_bytes,
            max_partition_fetch_bytes=min(self.limits.max_bytes, 2 << 20),
            # Where nobody writes in transactions, this is the same as reading everything.
            isolation_level="read_committed",
        )
        if self.group is not None:
            client.subscribe(list(self.topics), listener=_Ear(self.listener) if self.listener else None)
        await started(client, self.connection)
        hand_out_as_parsed(client)
        self._client = client
        if self.group is None:
            everything = [TopicPartition(t, n) for t in self.topics for n in sorted(await partitions_of(client, t))]
            client.assign(everything)
            if not self.from_start:
                await client.seek_to_end(*everything)

    async def fetch(self, *, timeout_s: float, most: int | None = None) -> Mapping[Partition, Sequence[Record]]:
        """Return what has arrived."""
        takes = self._takes if most is None else min(self._takes, most)
        try:
            found = await self.client.getmany(timeout_ms=int(timeout_s * 1000), max_records=takes)
            if found and self.limits.formed:
                await self._join(found, takes)
        except KafkaError as broken:
            raise trouble(broken, f"fetching {', '.join(self.topics)}") from broken
        except UnicodeDecodeError as odd:
            # What came before it in this fetch is lost to this client: whoever reads starts over.
            tolerate()
            raise Retryable(f"fetching {', '.join(self.topics)}: a header's name is no UTF-8: {odd}") from odd
        for tp, raws in found.items():
            self._handed_out[tp] = raws[-1].offset + 1
        if found:
            full = sum(map(len, found.values())) >= min(self.limits.max_records, takes)
            self._takes = self.limits.takes(self._waiting() if full else 0)
        return {Partition(tp.topic, tp.partition): read(tp.topic, tp.partition, raws) for tp, raws in found.items()}

    def _waiting(self) -> int:
        """Return how many records the owned partitions still had behind the last fetch, as it saw them."""
        return sum(max(0, end - (self.position(partition) or end)) for partition, end in self.ends_seen().items())

    async def _join(self, found: dict[TopicPartition, list[Any]], takes: int) -> None:
        """Where a batch follows another too closely, wait, and add what comes meanwhile."""
        now_s = asyncio.get_running_loop().time
        early_s = self._taken_s + self.limits.wait_s / 2 - now_s()
        room = takes - sum(map(len, found.values()))
        if early_s > 0 and room > 0:
            await asyncio.sleep(early_s)
            for tp, raws in (await self.client.getmany(timeout_ms=0, max_records=room)).items():
                found.setdefault(tp, []).extend(raws)
        self._taken_s = now_s()

    def assignment(self) -> frozenset[Partition]:
        """Return what this member owns now."""
        return frozenset(Partition(tp.topic, tp.partition) for tp in self.client.assignment())

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop fetching these."""
        self.client.pause(*self._still_owned(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetch these again."""
        self.client.resume(*self._still_owned(partitions))

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        self.client.seek(TopicPartition(*partition), offset)

    def position(self, partition: Partition) -> int | None:
        """Return from where the next fetch reads: no request is made."""
        # aiokafka's own position() waits until there is one.
        subscription = self.client._subscription.subscription  # noqa: SLF001
        state = subscription and subscription.assignment.state_value(TopicPartition(*partition))
        return state.position if state is not None and state.has_valid_position else None

    async def committed(self, partition: Partition) -> Committed | None:
        """Return the group's place, with its note."""
        # aiokafka's committed() drops the note that was stored beside the offset.
        coordinator = self.client._coordinator  # noqa: SLF001
        tp = TopicPartition(*partition)
        try:
            places = await coordinator.fetch_committed_offsets([tp])
        except KafkaError as broken:
            raise trouble(broken, f"asking for the place of {self.group} in {partition}") from broken
        place = places.get(tp)
        return None if place is None or place.offset < 0 else Committed(place.offset, place.metadata)

    async def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Write the group's place down."""
        places = {TopicPartition(*p): OffsetAndMetadata(c.offset, c.note) for p, c in offsets.items()}
        try:
            await self.client.commit(places)
        except _NO_LONGER_OURS as lost:
            # aiokafka hands on why the group refused as a cause.
            kind = Ousted if isinstance(lost.__cause__ or lost, UnknownMemberIdError) else Fenced
            raise kind(f"{self.instance or 'this member'} may no longer commit for {self.group}: {lost!r}") from lost
        except KafkaError as broken:
            raise trouble(broken, f"committing for {self.group}") from broken

    def gather(self, fetch: Fetch) -> None:
        """Change how records are gathered, from the next fetch on."""
        self.limits = fetch
        # aiokafka reads this at each fetch and offers no other way to change it; the contract
        # suite times a fetch before and after, so that an upgrade that breaks this is noticed.
        self.client._fetcher._fetch_max_wait_ms = _wait_ms(fetch)  # noqa: SLF001

    def ends_seen(self) -> Mapping[Partition, int]:
        """Return the end offset of each owned partition as the last fetch saw it: no request is made."""
        seen: dict[Partition, int] = {}
        for tp in self.client.assignment():
            end = self.client.highwater(tp)
            if end is None:
                continue
            # Behind the last record stands the marker that ends its transaction: nobody is behind for that.
            partition = Partition(tp.topic, tp.partition)
            seen[partition] = self._handed_out.get(tp, end) if (self.position(partition) or 0) >= end else end
        return seen

    def held(self) -> Mapping[Partition, int]:
        """Return where each owned partition is held up, as the last fetch saw it: no request is made."""
        held: dict[Partition, int] = {}
        for tp in self.client.assignment():
            stable, end = self.client.last_stable_offset(tp), self.client.highwater(tp)
            if stable is not None and end is not None and 0 <= stable < end:
                held[Partition(tp.topic, tp.partition)] = stable
        return held

    async def close(self) -> None:
        """Leave the group at once (a static member keeps its place for the session's length)."""
        if self._client is not None:
            await self._client.stop()

    async def resign(self) -> None:
        """Leave the group for good."""
        if self._client is not None and self.group is not None:
            # aiokafka tells the group that a member leaves only where it is no static one, and offers no other way; the
            # coordinator knows the member by its id, static or not. The contract suite times what comes of it.
            self._client._coordinator._group_instance_id = None  # noqa: SLF001
        await self.close()

    def _still_owned(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        owned = self.client.assignment()
        return [tp for p in partitions if (tp := TopicPartition(*p)) in owned]


class _Ear(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells our listener what aiokafka says."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self.listener.on_revoked([Partition(tp.topic, tp.partition) for tp in sorted(revoked)])

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self.listener.on_assigned([Partition(tp.topic, tp.partition) for tp in sorted(assigned)])


def read(topic: str, partition: int, raws: Sequence[Any]) -> list[Record]:
    """Return what aiokafka read of a partition, or parsed, as our rooms read it; times in microseconds."""
    if not raws:
        return []
    offsets, keys, values, headers, times = zip(*map(_FIELDS, raws), strict=True)
    times_us = [(time or 0) * 1000 for time in times]
    return records_of(repeat(topic), repeat(partition), offsets, keys, values, map(tuple, headers), times_us)


def _wait_ms(fetch: Fetch) -> int:
    return _IDLE_MS if fetch.formed else max(1, round(fetch.wait_s * 1000))


async def partitions_of(client: AIOKafkaConsumer, topic: str) -> set[int]:
    """Return the numbers of a topic's partitions. Raises ``Misconfigured`` where there is no such topic."""
    numbers = client.partitions_for_topic(topic)
    if not numbers:
        await client._client.force_metadata_update()  # noqa: SLF001 - topics() drops what is not subscribed
        await client.topics()
        numbers = client.partitions_for_topic(topic)
    if not numbers:
        raise Misconfigured(
            f"there is no topic {topic} that we may see: create it, start the pipeline that owns it, or grant Describe"
        )
    return set(numbers)
