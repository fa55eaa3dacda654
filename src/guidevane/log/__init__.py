"""What we ask of Kafka: a partitioned log with consumer groups, and nothing more.

Two logs answer it: :class:`guidevane.log.memory.MemoryLog` for unit tests and docs, and
:class:`guidevane.log.kafka.KafkaLog` for everything else. One contract suite holds both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from guidevane.topics import TopicSpec

Headers = tuple[tuple[str, bytes | None], ...]
"""Names, not all of them different, with their values; Kafka lets a value be null."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Record(NamedTuple):
    """One record as it was read.

    ``body`` and ``origin`` are its decoded value and its event's offset in the pipeline's first
    topic, where the same process wrote it and so knows. (A tuple, for each event becomes several.)
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_us: int = 0
    body: object = None
    origin: int | None = None

    def header(self, name: str) -> bytes | None:
        """Return the last header of that name, as Kafka clients do, or ``None``."""
        if not self.headers:
            return None
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class Message(NamedTuple):
    """One record to be written. ``body`` spares a fused reader the decoding of ``value``."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    body: object = None

    @property
    def size_bytes(self) -> int:
        """Return how much it holds: key, value and headers."""
        said = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + said

    def under(self, headers: Headers) -> Message:
        """Return the same message with other headers."""
        # Not ``_replace``: this is made once an event and stage, and costs a quarter of it.
        return Message(self.key, self.value, headers, self.body)


def records_of(
    topics: Iterable[str],
    partitions: Iterable[int],
    offsets: Iterable[int],
    keys: Iterable[bytes | None],
    values: Iterable[bytes | None],
    headers: Iterable[Headers],
    timestamps_us: Iterable[int],
    bodies: Iterable[object] = repeat(None),
    origins: Iterable[int | None] = repeat(None),
) -> list[Record]:
    """Return the records of a batch, of their fields' columns: as many as the shortest column has.

    It takes half as long as making them one by one, and each event is made into five.

    >>> batch = records_of(repeat("p.events"), [0, 1], [7, 7], [None, b"k"], [b"", b"v"], repeat(()), [5, 6])
    >>> batch[1] == Record("p.events", 1, 7, b"k", b"v", timestamp_us=6), len(batch)
    (True, 2)
    """
    columns = zip(topics, partitions, offsets, keys, values, headers, timestamps_us, bodies, origins, strict=False)
    return list(map(Record._make, columns))


class Committed(NamedTuple):
    """A group's place in one partition: the next offset to read, and a note kept beside it."""

    offset: int
    note: str = ""


class Listener(Protocol):
    """Told of every change of assignment, before the change takes effect."""

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Finish and commit what is in flight: after this, others own the partitions."""
        ...

    async def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Take note of what is owned from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Fetch:
    """How a consumer gathers records: ``wait_s`` is the most that a fetch waits for company.

    ``formed`` says that what is read was written in batches: they are taken as they come, and only where they
    follow each other more closely than half of ``wait_s`` does a fetch wait for more. Where a backlog waits, a fetch
    takes more than ``max_records``: up to ``max_records_behind``.

    >>> fetch = Fetch(max_records=512, max_records_behind=2048)
    >>> [fetch.takes(waiting) for waiting in (0, 2_000, 4_000, 1_000_000)]
    [512, 512, 1000, 2048]
    """

    wait_s: float = 0.010
    max_records: int = 512
    max_bytes: int = 8 << 20
    formed: bool = False
    max_records_behind: int = 0

    def takes(self, waiting: int) -> int:
        """Return how many records the next fetch takes at most, where so many wait behind one that was full.

        That is a quarter of them, between ``max_records`` and ``max_records_behind``: what a fetch costs
        once is shared by more, and who waits behind the others waits no more than a quarter longer for it.
        """
        return max(self.max_records, min(self.max_records_behind, waiting // 4))


class Consumer(Protocol):
    """A member of a group (or, without a group, a reader of every partition). It sees committed records only."""

    async def start(self) -> None:
        """Connect; join the group."""
        ...

    async def fetch(self, *, timeout_s: float, most: int | None = None) -> Mapping[Partition, Sequence[Record]]:
        """Return what has arrived, after at most ``timeout_s``; order holds per partition.

        That is at most ``max_records``, or after a fetch that was full as many as :meth:`Fetch.takes` says; and never
        more than ``most``.
        """
        ...

    def assignment(self) -> frozenset[Partition]:
        """Return what this member owns now."""
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop fetching these, keep owning them."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetch these again."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        ...

    def position(self, partition: Partition) -> int | None:
        """Return from where the next fetch reads, ``None`` where that is not known yet.

        That is behind what was handed out, and behind the marks of transactions that follow it: where it has come to
        an end that :meth:`Log.ends` told, nothing before that end is still to come.
        """
        ...

    async def committed(self, partition: Partition) -> Committed | None:
        """Return the group's place, or ``None`` where it has none yet."""
        ...

    async def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Write the group's place down. Raises ``Fenced`` where this member no longer owns a partition.

        ``Ousted`` is raised where the group does not know this member at all.
        """
        ...

    def gather(self, fetch: Fetch) -> None:
        """Change how records are gathered, from the next fetch on."""
        ...

    def ends_seen(self) -> Mapping[Partition, int]:
        """Return the end offset of each owned partition as the last fetch saw it, where it saw one."""
        ...

    def held(self) -> Mapping[Partition, int]:
        """Return at which offset a transaction that has not ended holds each owned partition, where one does.

        That is as the last fetch saw it: nothing from there on is handed out until that transaction has ended.
        """
        ...

    async def close(self) -> None:
        """Leave the group; a static member's place is kept for its session's length."""
        ...

    async def resign(self) -> None:
        """Leave the group for good: what a static member owned is dealt out at once."""
        await self.close()


class Producer(Protocol):
    """Writes; what it returned from is durable."""

    async def post(self, topic: str, partition: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Take all messages, in order behind those posted before; what is returned gives the first one's offset.

        The offset comes once every replica that must has them. Awaiting it raises ``TooLarge`` where the log takes no
        message of such a size, and ``Retryable`` where it did not answer in time: the messages may or may not be
        there, and what this producer posts to the partition from then on is refused, for it would overtake them.
        """
        ...

    async def send(self, topic: str, partition: int, messages: Sequence[Message]) -> int:
        """Post, and wait for the offset."""
        return await (await self.post(topic, partition, messages))

    async def send_keyed(self, topic: str, message: Message) -> Partition:
        """Append one message to the partition that its key hashes to (murmur2, as Java's client)."""
        ...

    async def flush(self) -> None:
        """Wait until all that was posted is there, or was refused. It raises nothing: who posted is told."""
        ...

    async def close(self) -> None:
        """Flush, then disconnect."""
        ...


class Transactions(Producer, Protocol):
    """A producer whose records are seen as a whole or never, by readers of committed records: by all of ours.

    One process at a time holds its id. After any trouble it is thrown away: whoever opens the id
    next fences it, and has what it left open aborted.
    """

    async def begin(self) -> None:
        """Begin a transaction; what is posted from now on belongs to it."""
        ...

    async def commit(self, group: str, places: Mapping[Partition, Committed]) -> None:
        """Wait for what was posted, then show it and write the group's places down, both or neither.

        Raises ``Fenced`` where another holds the id, and ``Retryable`` where it is not known what became of it.
        """
        ...

    async def abort(self) -> None:
        """End the transaction; nobody sees what it wrote."""
        ...


class Log(Protocol):
    """A Kafka cluster, or what stands in for one."""

    def consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        instance: str | None = None,
        listener: Listener | None = None,
        fetch: Fetch | None = None,
    ) -> Consumer:
        """Return a member of ``group``; a static one where ``instance`` is given. Starts at the earliest record."""
        ...

    def reader(self, topics: Sequence[str], *, from_start: bool = True, fetch: Fetch | None = None) -> Consumer:
        """Return a consumer of every partition, outside any group."""
        ...

    async def producer(self, *, name: str) -> Producer:
        """Return a started, idempotent producer."""
        ...

    async def transactions(self, transactional_id: str, *, name: str, timeout_s: float | None = None) -> Transactions:
        """Return the new holder of a transactional id: who held it is fenced, what it had open is aborted.

        The log aborts a transaction that stays open for ``timeout_s`` (the group's session, if not given).
        """
        ...

    async def read(self, partition: Partition, start: int, stop: int | None = None) -> Sequence[Record]:
        """Return the committed records of ``[start, stop)`` that still exist; ``stop`` defaults to the end as it is.

        Waits for transactions to end that are open before ``stop``.
        """
        ...

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offset (the next to be written) of each partition."""
        ...

    async def starts(self, topic: str) -> Mapping[int, int]:
        """Return the offset of each partition from which on the log keeps what was written."""
        ...

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that do not exist. Raises ``Misconfigured`` where one exists with other partitions."""
        ...

    async def close(self) -> None:
        """Let go of every connection that the log itself holds."""
        ...
