"""One Kafka cluster: what hands out consumers and producers, reads ranges, and knows where topics end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from guidevane.errors import Misconfigured
from guidevane.log import Fetch, Listener, Partition, Record
from guidevane.log.kafka.admin import create, described
from guidevane.log.kafka.batches import LARGEST_BYTES, Batches
from guidevane.log.kafka.connection import Connection, started
from guidevane.log.kafka.consumer import KafkaConsumer, partitions_of, read
from guidevane.log.kafka.header_names import tolerate
from guidevane.log.kafka.producer import KafkaProducer
from guidevane.log.kafka.refusals import trouble
from guidevane.log.kafka.transactions import KafkaTransactions, begun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from guidevane.topics import TopicSpec

# Past a marker that ends a transaction the position moves without a record, and nobody is told: ask again soon.
_LOOK_MS = 10
# A broker that hangs is found out by a request that nobody answers; what it led has another leader by then.
_LOOK_WITHIN_S = 10.0
_CLOSE_S = 5.0
_log = logging.getLogger(__name__)


class KafkaLog:
    """One Kafka cluster."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        # A reader of committed records is told that a topic ends where its first open transaction begins;
        # what we ask for is its true end.
        looking = replace(connection, request_timeout_s=min(connection.request_timeout_s, _LOOK_WITHIN_S))
        self._looker = _Looker(looking, "read_committed")
        self._ends = _Looker(looking, "read_uncommitted")
        self._looking = asyncio.Lock()
        self._batches = Batches()

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        instance: str | None = None,
        listener: Listener | None = None,
        fetch: Fetch | None = None,
    ) -> KafkaConsumer:
        """Return a member of ``group``; a static one where ``instance`` is given."""
        return KafkaConsumer(self.connection, tuple(topics), fetch or Fetch(), group, instance, listener)

    def reader(self, topics: Sequence[str], *, from_start: bool = True, fetch: Fetch | None = None) -> KafkaConsumer:
        """Return a consumer of every partition, outside any group."""
        reader = KafkaConsumer(self.connection, tuple(topics), fetch or Fetch(), None, None, None)
        reader.from_start = from_start
        return reader

    async def producer(self, *, name: str) -> KafkaProducer:
        """Return a started, idempotent producer that waits for every in-sync replica."""
        client = AIOKafkaProducer(**self._producing(name))
        await started(client, self.connection)
        return KafkaProducer(client, self._batches)

    async def transactions(
        self, transactional_id: str, *, name: str, timeout_s: float | None = None
    ) -> KafkaTransactions:
        """Return the new holder of a transactional id, once what its id had open is aborted."""
        open_s = timeout_s if timeout_s is not None else self.connection.session_timeout_s
        client = AIOKafkaProducer(
            **self._producing(name), transactional_id=transactional_id, transaction_timeout_ms=int(open_s * 1000)
        )
        return await begun(client, self._batches, transactional_id, self.connection)

    def _producing(self, name: str) -> dict[str, Any]:
        compression = self.connection.compression
        return self.connection.options() | {
            "client_id": name,
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": None if compression == "none" else compression,
            "linger_ms": 0,
            "max_batch_size": LARGEST_BYTES,
            "max_request_size": 4 << 20,
        }

    async def read(self, partition: Partition, start: int, stop: int | None = None) -> Sequence[Record]:
        """Return the committed records of ``[start, stop)`` that still exist."""
        try:
            return await self._read(partition, start, stop)
        except UnicodeDecodeError:
            tolerate()
            return await self._read(partition, start, stop)

    async def _read(self, partition: Partition, start: int, stop: int | None) -> Sequence[Record]:
        async with self._looking:
            ends, looker = await self._ends.ready(), await self._looker.ready()
            tp = TopicPartition(*partition)
            try:
                # Of a topic that it does not see, aiokafka asks until its time is over, and names none.
                await partitions_of(ends, partition.topic)
                looker.assign([tp])
                if stop is None:
                    stop = (await ends.end_offsets([tp]))[tp]
                first = (await ends.beginning_offsets([tp]))[tp]
                looker.seek(tp, max(start, first))
                found: list[Record] = []
                # The position, not the last record, tells when to stop: compaction and transactions leave gaps.
                while await looker.position(tp) < stop:
                    batch = await looker.getmany(tp, timeout_ms=_LOOK_MS)
                    found += read(tp.topic, tp.partition, [raw for raw in batch.get(tp, ()) if raw.offset < stop])
            except KafkaError as broken:
                await self._forget()
                raise trouble(broken, f"reading {partition.topic}/{partition.number}") from broken
            finally:
                looker.unsubscribe()
            return found

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offset of each partition."""
        return await self._bounds(topic, AIOKafkaConsumer.end_offsets)

    async def starts(self, topic: str) -> Mapping[int, int]:
        """Return the offset of each partition from which on the log keeps what was written."""
        return await self._bounds(topic, AIOKafkaConsumer.beginning_offsets)

    async def _bounds(self, topic: str, ask: Callable[..., Awaitable[Mapping[TopicPartition, int]]]) -> dict[int, int]:
        async with self._looking:
            asked = await self._ends.ready()
            try:
                numbers = await partitions_of(asked, topic)
                found = await ask(asked, [TopicPartition(topic, n) for n in numbers])
            except KafkaError as broken:
                await self._forget()
                raise trouble(broken, f"asking where {topic} starts and ends") from broken
            return {tp.partition: offset for tp, offset in found.items()}

    async def _forget(self) -> None:
        """Have the next question asked by new clients, which learn anew who leads what.

        aiokafka cuts a question short in the moment in which its connection would be given up: it keeps both the
        connection to a broker that hangs and the belief that this one leads, however often it is asked.
        """
        for looker in (self._looker, self._ends):
            await looker.close()

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that do not exist."""
        admin = AIOKafkaAdminClient(**self.connection.options(), client_id="guidevane-topics")
        await started(admin, self.connection)
        try:
            await create(admin, specs)
            have = await described(admin, [spec.name for spec in specs])
        except KafkaError as broken:
            raise trouble(broken, "asking for topics") from broken
        finally:
            await admin.close()
        for spec in specs:
            if have[spec.name] != spec.partitions:
                raise Misconfigured(
                    f"topic {spec.name} has {have[spec.name]} partitions, the pipeline wants {spec.partitions}: "
                    "recreate the topic, or declare the pipeline with the partitions that exist"
                )

    async def remove(self, topics: Sequence[str]) -> None:
        """Delete topics, with all that is on them."""
        admin = AIOKafkaAdminClient(**self.connection.options(), client_id="guidevane-topics")
        await started(admin, self.connection)
        try:
            await admin.delete_topics(list(topics))
        except KafkaError as broken:
            raise trouble(broken, f"deleting {', '.join(topics)}") from broken
        finally:
            await admin.close()

    async def close(self) -> None:
        """Let go of the connections that ``read`` and ``ends`` use."""
        await self._looker.close()
        await self._ends.close()


class _Looker:
    """A client that belongs to no group, connected when it is first needed."""

    def __init__(self, connection: Connection, isolation: str) -> None:
        self.connection = connection
        self.isolation = isolation
        self._client: AIOKafkaConsumer | None = None

    async def ready(self) -> AIOKafkaConsumer:
        if self._client is None:
            client = AIOKafkaConsumer(
                **self.connection.options(),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=50,
                isolation_level=self.isolation,
            )
            await started(client, self.connection)
            self._client = client
        return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                # aiokafka was seen to wait for ever here, for a task of its own; nothing that matters is at stake.
                async with asyncio.timeout(_CLOSE_S):
                    await client.stop()
            except TimeoutError:
                _log.warning(
                    "a reader of %s did not close within %s s: it is left", self.connection.bootstrap, _CLOSE_S
                )
