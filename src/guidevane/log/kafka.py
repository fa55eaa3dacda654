"""The real log: Apache Kafka through aiokafka. The only file that imports the Kafka client."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from guidevane.errors import Fenced, Misconfigured, Reject, Retryable
from guidevane.log import Committed, Consumer, Fetch, Listener, Message, Partition, Producer, Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping, Sequence
    from typing import Self

    from guidevane.topics import TopicSpec

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
_PREFIX = "KAFKA_"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a cluster. ``security`` holds aiokafka's own SASL and TLS settings, passed through."""

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)
    session_timeout_s: float = 10.0
    request_timeout_s: float = 30.0
    compression: str = "lz4"

    @classmethod
    def told(cls, environ: Mapping[str, str], *, bootstrap: str | None = None, session_timeout_s: float = 10.0) -> Self:
        """Read ``KAFKA_BOOTSTRAP_SERVERS`` and, by the same rule, aiokafka's settings for security.

        >>> told = Connection.told({"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "KAFKA_SASL_MECHANISM": "PLAIN"})
        >>> told.bootstrap, dict(told.security), told.compression
        ('k:9092', {'sasl_mechanism': 'PLAIN'}, 'lz4')

        ``KAFKA_COMPRESSION_TYPE`` is ``none``, ``gzip``, ``lz4`` or ``zstd``, as Kafka's own clients have it.
        """
        given = {k.removeprefix(_PREFIX).lower(): v for k, v in environ.items() if k.startswith(_PREFIX)}
        security = {k: v for k, v in given.items() if k.startswith(("sasl_", "ssl_", "security_"))}
        servers = bootstrap or given.get("bootstrap_servers", "127.0.0.1:9092")
        compression = given.get("compression_type", "lz4")
        return cls(servers, security, session_timeout_s=session_timeout_s, compression=compression)

    def options(self) -> dict[str, Any]:
        """Return what every aiokafka client takes."""
        options: dict[str, Any] = {k: v for k, v in self.security.items() if not k.startswith("ssl_")}
        tls = {k: v for k, v in self.security.items() if k.startswith("ssl_")}
        if "SSL" in self.security.get("security_protocol", ""):
            context = ssl.create_default_context(cafile=tls.get("ssl_cafile"))
            if "ssl_certfile" in tls:
                context.load_cert_chain(tls["ssl_certfile"], tls.get("ssl_keyfile"), tls.get("ssl_password"))
            options["ssl_context"] = context
        return {"bootstrap_servers": self.bootstrap, "request_timeout_ms": int(self.request_timeout_s * 1000)} | options


class KafkaLog:
    """One Kafka cluster."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._looker: AIOKafkaConsumer | None = None
        self._looking = asyncio.Lock()

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
        client = AIOKafkaProducer(
            **self.connection.options(),
            client_id=name,
            acks="all",
            enable_idempotence=True,
            compression_type=None if self.connection.compression == "none" else self.connection.compression,
            linger_ms=0,
            max_batch_size=1 << 20,
            max_request_size=4 << 20,
        )
        await _started(client, self.connection)
        return KafkaProducer(client)

    async def read(self, partition: Partition, start: int, stop: int | None = None) -> Sequence[Record]:
        """Return the records of ``[start, stop)`` that still exist."""
        async with self._looking:
            looker = await self._looker_ready()
            tp = TopicPartition(*partition)
            looker.assign([tp])
            try:
                if stop is None:
                    stop = (await looker.end_offsets([tp]))[tp]
                first = (await looker.beginning_offsets([tp]))[tp]
                looker.seek(tp, max(start, first))
                found: list[Record] = []
                # The position, not the last record, tells when to stop: compaction leaves gaps.
                while await looker.position(tp) < stop:
                    batch = await looker.getmany(tp, timeout_ms=1000)
                    found.extend(_record(raw) for raw in batch.get(tp, ()) if raw.offset < stop)
            except KafkaError as broken:
                raise Retryable(f"reading {partition.topic}/{partition.number}: {broken}") from broken
            finally:
                looker.unsubscribe()
            return found

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offset of each partition."""
        async with self._looking:
            looker = await self._looker_ready()
            try:
                numbers = await _partitions(looker, topic)
                ends = await looker.end_offsets([TopicPartition(topic, n) for n in numbers])
            except KafkaError as broken:
                raise Retryable(f"asking for the end of {topic}: {broken}") from broken
            return {tp.partition: offset for tp, offset in ends.items()}

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that do not exist."""
        admin = AIOKafkaAdminClient(**self.connection.options(), client_id="guidevane-topics")
        await _started(admin, self.connection)
        try:
            await _create(admin, specs)
            have = await _described(admin, [spec.name for spec in specs])
        except KafkaError as broken:
            raise Retryable(f"asking for topics: {broken!r}") from broken
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
        await _started(admin, self.connection)
        try:
            await admin.delete_topics(list(topics))
        except KafkaError as broken:
            raise Retryable(f"deleting {', '.join(topics)}: {broken!r}") from broken
        finally:
            await admin.close()

    async def close(self) -> None:
        """Let go of the connection that ``read`` and ``ends`` use."""
        if self._looker is not None:
            await self._looker.stop()
            self._looker = None

    async def _looker_ready(self) -> AIOKafkaConsumer:
        if self._looker is None:
            looker = AIOKafkaConsumer(
                **self.connection.options(),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=50,
            )
            await _started(looker, self.connection)
            self._looker = looker
        return self._looker


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
            fetch_min_bytes=_GATHER_BYTES,
            fetch_max_wait_ms=_wait_ms(self.limits),
            fetch_max_bytes=self.limits.max_bytes,
            max_partition_fetch_bytes=min(self.limits.max_bytes, 2 << 20),
        )
        if self.group is not None:
            client.subscribe(list(self.topics), listener=_Ear(self.listener) if self.listener else None)
        await _started(client, self.connection)
        self._client = client
        if self.group is None:
            everything = [TopicPartition(t, n) for t in self.topics for n in sorted(await _partitions(client, t))]
            client.assign(everything)
            if not self.from_start:
                await client.seek_to_end(*everything)

    async def fetch(self, *, timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """Return what has arrived."""
        try:
            found = await self.client.getmany(timeout_ms=int(timeout_s * 1000), max_records=self.limits.max_records)
        except KafkaError as broken:
            raise Retryable(f"fetching {', '.join(self.topics)}: {broken}") from broken
        return {Partition(tp.topic, tp.partition): [_record(raw) for raw in raws] for tp, raws in found.items()}

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

    async def committed(self, partition: Partition) -> Committed | None:
        """Return the group's place, with its note."""
        # aiokafka's committed() drops the note that was stored beside the offset.
        coordinator = self.client._coordinator  # noqa: SLF001
        tp = TopicPartition(*partition)
        try:
            places = await coordinator.fetch_committed_offsets([tp])
        except KafkaError as broken:
            raise Retryable(f"asking for the place of {self.group} in {partition}: {broken}") from broken
        place = places.get(tp)
        return None if place is None or place.offset < 0 else Committed(place.offset, place.metadata)

    async def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Write the group's place down."""
        places = {TopicPartition(*p): OffsetAndMetadata(c.offset, c.note) for p, c in offsets.items()}
        try:
            await self.client.commit(places)
        except _NO_LONGER_OURS as lost:
            raise Fenced(f"{self.instance or 'this member'} may no longer commit for {self.group}: {lost!r}") from lost
        except KafkaError as broken:
            raise Retryable(f"committing for {self.group}: {broken}") from broken

    def gather(self, fetch: Fetch) -> None:
        """Change how records are gathered, from the next fetch on."""
        self.limits = fetch
        # aiokafka reads this at each fetch and offers no other way to change it; the contract
        # suite times a fetch before and after, so that an upgrade that breaks this is noticed.
        self.client._fetcher._fetch_max_wait_ms = _wait_ms(fetch)  # noqa: SLF001

    def ends_seen(self) -> Mapping[Partition, int]:
        """Return the end offset of each owned partition as the last fetch saw it: no request is made."""
        seen = {Partition(tp.topic, tp.partition): self.client.highwater(tp) for tp in self.client.assignment()}
        return {partition: end for partition, end in seen.items() if end is not None}

    async def close(self) -> None:
        """Leave the group at once (a static member keeps its place for the session's length)."""
        if self._client is not None:
            await self._client.stop()

    def _still_owned(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        owned = self.client.assignment()
        return [tp for p in partitions if (tp := TopicPartition(*p)) in owned]


class KafkaProducer(Producer):
    """An idempotent producer; each ``send`` is one batch (or few, where it is large) per partition."""

    def __init__(self, client: AIOKafkaProducer) -> None:
        self.client = client
        self._turns: dict[Partition, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def post(self, topic: str, partition: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Take all messages, in order behind those posted before; what is returned gives the first one's offset."""
        # aiokafka lets whoever comes in the right moment overtake those who wait for a partition's
        # slot, and shortens their time with each turn that they lose: so one at a time, in order.
        async with self._turns[Partition(topic, partition)]:
            try:
                waiting = await self._enqueue(topic, partition, messages)
            except KafkaError as broken:
                raise Retryable(f"sending to {topic}/{partition}: {broken!r}") from broken
        return _FirstOffset(waiting, f"{topic}/{partition}")

    async def _enqueue(self, topic: str, partition: int, messages: Sequence[Message]) -> list[Any]:
        waiting: list[Any] = []
        batch = self.client.create_batch()
        for message in messages:
            row: dict[str, Any] = {
                "timestamp": None,
                "key": message.key,
                "value": message.value,
                "headers": list(message.headers),
            }
            if batch.append(**row) is None:
                waiting.append(await self.client.send_batch(batch, topic, partition=partition))
                batch = self.client.create_batch()
                if batch.append(**row) is None:
                    raise Reject("too_large", f"a message of {len(message.value or b'')} bytes exceeds the limit")
        waiting.append(await self.client.send_batch(batch, topic, partition=partition))
        return waiting

    async def send_keyed(self, topic: str, message: Message) -> Partition:
        """Append one message to the partition that its key hashes to."""
        try:
            sent = await self.client.send_and_wait(
                topic, key=message.key, value=message.value, headers=list(message.headers)
            )
        except MessageSizeTooLargeError as large:
            raise Reject("too_large", f"a message of {len(message.value or b'')} bytes exceeds the limit") from large
        except KafkaError as broken:
            raise Retryable(f"sending to {topic}: {broken!r}") from broken
        return Partition(topic, sent.partition)

    async def close(self) -> None:
        """Flush, then disconnect."""
        await self.client.stop()


@dataclass(frozen=True, slots=True, eq=False)
class _FirstOffset:
    """Awaited, gives the first offset once every batch is acknowledged. No task, no coroutine: there are many."""

    batches: list[Any]
    where: str

    def __await__(self) -> Generator[Any, None, int]:
        try:
            first = yield from self.batches[0].__await__()
            for batch in self.batches[1:]:
                yield from batch.__await__()
        except KafkaError as broken:
            raise Retryable(f"sending to {self.where}: {broken!r}") from broken
        return int(first.offset)


class _Ear(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells our listener what aiokafka says."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self.listener.on_revoked([Partition(tp.topic, tp.partition) for tp in sorted(revoked)])

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self.listener.on_assigned([Partition(tp.topic, tp.partition) for tp in sorted(assigned)])


def _record(raw: Any) -> Record:
    return Record(
        raw.topic, raw.partition, raw.offset, raw.key, raw.value, tuple(raw.headers), (raw.timestamp or 0) * 1000
    )


def _wait_ms(fetch: Fetch) -> int:
    return max(1, round(fetch.wait_s * 1000))


async def _started(client: Any, connection: Connection) -> None:
    try:
        await client.start()
    except KafkaConnectionError as unreachable:
        # A client that did not start still holds tasks.
        await (client.stop() if hasattr(client, "stop") else client.close())
        raise Retryable(f"no Kafka at {connection.bootstrap}: {unreachable}") from unreachable


async def _partitions(client: AIOKafkaConsumer, topic: str) -> set[int]:
    numbers = client.partitions_for_topic(topic)
    if not numbers:
        await client._client.force_metadata_update()  # noqa: SLF001 - topics() drops what is not subscribed
        await client.topics()
        numbers = client.partitions_for_topic(topic)
    if not numbers:
        raise Misconfigured(f"there is no topic {topic}: create it, or start the pipeline that owns it")
    return set(numbers)


async def _described(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    """Return how many partitions each topic has, once all have leaders: a new topic is not there at once."""
    have: dict[str, int] = {}
    for attempt in range(100):
        described = await admin.describe_topics(topics)
        have = {found["topic"]: len(found["partitions"]) for found in described if not found["error_code"]}
        if all(have.get(topic) for topic in topics):
            return have
        await asyncio.sleep(min(0.02 * (attempt + 1), 0.2))
    raise Retryable(f"no leader yet for {', '.join(topic for topic in topics if not have.get(topic))}")


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    for spec in specs:
        topic = NewTopic(spec.name, spec.partitions, replication_factor=1, topic_configs=dict(spec.settings))
        # The broker's own default (-1, KIP-464) is what the operator of the cluster chose; aiokafka
        # refuses it in the constructor and sends it all the same.
        topic.replication_factor = -1
        try:
            answer = await admin.create_topics([topic])
        except TopicAlreadyExistsError:
            continue
        for _, code, *said in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Misconfigured(f"Kafka would not create {spec.name} ({code}): {said[0] if said else ''}")
