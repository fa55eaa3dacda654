"""What a room gives the engine: where it reads, where it writes, and one function between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from guidevane import reading
from guidevane.errors import Reject
from guidevane.log import Headers, Message, Record
from guidevane.telemetry.tracing import HEADER as TRACE

# The offset of the event in the pipeline's first topic: with the partition, which is the same all
# along, it names the event on every topic. It is how a stage knows its own answers again.
ORIGIN = reading.ORIGIN

# On an event that was a dead letter and is sent again, and on all that comes of it: the letter's place on the dlq.
REDRIVE = "gv.redrive.of"
_CARRIED = frozenset({TRACE, REDRIVE})

Result = Message | Reject | None
"""One answer for one record: a message, a dead letter's reason, or nothing (a duplicate)."""

Handler = Callable[[Sequence[Record]], Awaitable[Sequence[Result]]]
"""Answers a batch, one result a record, in the same order.

It may be called again with the same records, alone or split, so it changes nothing before it
returns. It raises ``Retryable`` where the same call may succeed later; anything else that it
raises is a bug, and is traced to the record that causes it.
"""

Recall = Callable[[int, Sequence[Record]], None]
"""Told, on taking a partition over, the partition and the stage's own last outputs there."""


Changes: TypeAlias = Mapping[tuple[int, str], object]
"""What a memory holds anew after a batch, by partition and key."""


class Memory(Protocol):
    """What a stage remembers of each key, for as long as the stage owns the key's partition.

    It is kept in a table whose changelog is a topic. The worker writes what a batch changed after the outputs of the
    batch are durable, and before its offsets are committed; or with both, in a transaction. So no memory ever knows an
    event that has no answer, and whoever restores one counts again just what is missing. It waits for nothing and never
    raises because of an event.
    """

    @property
    def topic(self) -> str:
        """The changelog: as many partitions as the stage's input, compacted."""
        ...

    def restore(self, partition: int, written: Sequence[Record]) -> None:
        """Begin a partition with what its changelog holds."""
        ...

    def forget(self) -> None:
        """Let go of everything: the partitions have other owners."""
        ...

    def advance(self, records: Sequence[Record], origins: Sequence[int]) -> tuple[list[Record], Changes]:
        """Take note of each record once, in order, answered before or not.

        Returns the records as the handler shall see them, and what is held anew.
        """
        ...

    def write(self, changes: Changes) -> Mapping[int, Sequence[Message]]:
        """Return what the changelog must be told, by partition."""
        ...


class Trial(Protocol):
    """Finds out which events a handler does not survive, at the cost of no room."""

    async def culprits(self, records: Sequence[Record]) -> Mapping[int, Reject]:
        """Return why, by place in the batch, for those that end or hang a process; whoever only raises is not told.

        Records are as the handler would get them. Nobody is blamed where nobody can tell.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step from topic to topic.

    ``first`` says that the input is the pipeline's first topic, whose headers are the world's.
    ``concurrency`` is how many batches may be handled at once; their answers keep their order.
    ``recall`` and ``recall_records`` let a stage that remembers (such as deduplication) rebuild
    what it knew from what it wrote. ``memory`` is for what no few outputs can tell; it wants a
    ``concurrency`` of 1. ``trial`` is for a handler that runs an author's code in the room's process. ``on_durable``
    is told of each batch how many seconds the log took to make durable what the worker's last stage answered.
    """

    name: str
    input: str
    output: str
    handle: Handler
    first: bool = False
    concurrency: int = 1
    recall: Recall | None = None
    recall_records: int = 0
    patience_s: float = 30.0
    memory: Memory | None = None
    trial: Trial | None = None
    on_durable: Callable[[float], None] | None = None


def origin_of(record: Record, *, first: bool) -> int | None:
    """Return the event's offset in the pipeline's first topic; ``None`` for a stray: none of ours wrote it."""
    if first:
        return record.offset
    return record.origin if record.origin is not None else reading.origin_in(record.headers)


def origins_of(records: Sequence[Record], *, first: bool) -> list[int | None]:
    """Return :func:`origin_of` for each of a batch."""
    if first:
        return [record.offset for record in records]
    return [r.origin if r.origin is not None else reading.origin_in(r.headers) for r in records]


def addressed(
    records: Sequence[Record], origins: Sequence[int], messages: Sequence[Message], *, first: bool
) -> Sequence[Message]:
    """Return answers, one a record, under the headers that each is to have (:func:`carried`)."""
    if not first:
        return [
            message
            # Mostly nothing is said anew.
            if message.headers is (had := record.headers) and had and had[-1][0] == ORIGIN
            else message.under(carried(record, origin, message, first=False))
            for record, origin, message in zip(records, origins, messages, strict=True)
        ]
    if not messages:
        return messages
    keys, values, headers, bodies = zip(*messages, strict=True)
    under = [(*had, (ORIGIN, b"%d" % origin)) for had, origin in zip(headers, origins, strict=True)]
    return list(map(Message._make, zip(keys, values, under, bodies, strict=True)))


def carried(record: Record, origin: int, message: Message, *, first: bool) -> Headers:
    """Return the headers of an answer: its own, its origin, the trace it belongs to, the letter it redrives.

    What the first stage reads was written by the world: only its handler says what of it is carried on. Behind it, who
    answers under a record's own headers says nothing anew.
    """
    had = record.headers
    if not first and message.headers is had and had and had[-1][0] == ORIGIN:
        return had
    mine: Headers = (*message.headers, (ORIGIN, b"%d" % origin))
    return mine if first else (*mine, *[header for header in record.headers if header[0] in _CARRIED])
