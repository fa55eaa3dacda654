"""Writing to Kafka: whole batches, in the order in which they were posted."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate, count, repeat, takewhile
from typing import TYPE_CHECKING, Any

from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFenced,
)

from guidevane.errors import Fenced, Reject, Retryable, TooLarge
from guidevane.log import Message, Partition, Producer
from guidevane.log.kafka.batches import LARGEST_BYTES
from guidevane.log.kafka.refusals import trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence

    from aiokafka import AIOKafkaProducer

    from guidevane.log.kafka.batches import Batches

_log = logging.getLogger(__name__)
_EACH_BYTES = 32
"""What a record takes around its key, value and headers, at the most that is usual."""
# An id that was taken over; a transaction that the coordinator ended for us; an id that it forgot.
_HELD_BY_ANOTHER = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState, InvalidProducerIdMapping)


class KafkaProducer(Producer):
    """An idempotent producer; each ``send`` is one batch (or few, where it is large) per partition."""

    def __init__(self, client: AIOKafkaProducer, batches: Batches) -> None:
        self.client = client
        self.batches = batches
        self._turns: dict[Partition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._begun: set[Partition] = set()
        self._refused: set[Partition] = set()

    async def post(self, topic: str, partition: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Take all messages, in order behind those posted before; what is returned gives the first one's offset."""
        # aiokafka lets whoever comes in the right moment overtake those who wait for a partition's
        # slot, and shortens their time with each turn that they lose: so one at a time, in order.
        place = Partition(topic, partition)
        async with self._turns[place]:
            if place in self._refused:
                raise Retryable(f"sending to {topic}/{partition}: what was to go before it was refused")
            try:
                waiting = await self._enqueue(topic, partition, messages)
            except KafkaError as broken:
                self._refused.add(place)
                raise self.failure(broken, topic, partition, messages) from broken
        return _FirstOffset(self, waiting, topic, partition, messages)

    async def _enqueue(self, topic: str, partition: int, messages: Sequence[Message]) -> list[Any]:
        waiting: list[Any] = []
        begin, most = 0, self.batches.most(topic)
        while begin < len(messages):
            batch = self.client.create_batch()
            ahead = messages[begin:] if begin else messages
            taken = _fill(batch, ahead if most >= LARGEST_BYTES else _within(most, ahead))
            if not taken:
                size = len(ahead[0].value or b"")
                raise Reject("too_large", f"a message of {size} bytes exceeds the limit")
            waiting.append(await self._send(batch, topic, partition))
            begin += taken
        return waiting

    async def _send(self, batch: Any, topic: str, partition: int) -> Any:
        acknowledged = await self._enqueued(batch, topic, partition)
        if (place := Partition(topic, partition)) not in self._begun:
            # A broker that knows nothing of a producer takes any sequence number from it: what is sent behind a first
            # batch that is refused would land without it. Behind a later one it is out of sequence, and refused.
            await acknowledged
            self._begun.add(place)
        return acknowledged

    async def _enqueued(self, batch: Any, topic: str, partition: int) -> Any:
        """Put a batch behind the one before it, which is sent again until it is answered: there may be no place long.

        aiokafka gives up after a request's time, and has taken nothing then. To start over for that would be to ask
        everything anew of a cluster that is in trouble, for what waits there in its order already.
        """
        while True:
            try:
                return await self.client.send_batch(batch, topic, partition=partition)
            except KafkaTimeoutError:
                continue

    def failure(
        self, broken: KafkaError, topic: str, partition: int, messages: Sequence[Message]
    ) -> Fenced | Retryable:
        """Return what we make of a failure to send messages; what is too large at once goes in parts from now on."""
        if not isinstance(broken, MessageSizeTooLargeError):
            return told(broken, f"sending to {topic}/{partition}")
        if self.batches.narrower(topic, messages):
            return Retryable(f"{topic} takes no batch so large → batches of {self.batches.most(topic)} bytes go to it")
        # Small messages share a batch that any topic takes: it is the largest one that does not fit.
        return TooLarge(topic, max(message.size_bytes for message in messages))

    async def send_keyed(self, topic: str, message: Message) -> Partition:
        """Append one message to the partition that its key hashes to."""
        try:
            sent = await self.client.send_and_wait(
                topic, key=message.key, value=message.value, headers=list(message.headers)
            )
        except MessageSizeTooLargeError as large:
            raise Reject("too_large", f"a message of {len(message.value or b'')} bytes exceeds the limit") from large
        except KafkaError as broken:
            raise told(broken, f"sending to {topic}") from broken
        return Partition(topic, sent.partition)

    async def flush(self) -> None:
        """Wait until all is acknowledged or refused: for ever, where a partition takes no writes."""
        await self.client.flush()

    async def close(self) -> None:
        """Flush, then disconnect. What is not taken any more, its own acknowledgement tells."""
        await stopped(self.client)


@dataclass(frozen=True, slots=True, eq=False)
class _FirstOffset:
    """Awaited, gives the first offset once every batch is acknowledged. No task, no coroutine: there are many."""

    producer: KafkaProducer
    batches: list[Any]
    topic: str
    partition: int
    messages: Sequence[Message]

    def __await__(self) -> Generator[Any, None, int]:
        try:
            first = yield from self.batches[0].__await__()
            for batch in self.batches[1:]:
                yield from batch.__await__()
        except KafkaError as broken:
            raise self.producer.failure(broken, self.topic, self.partition, self.messages) from broken
        return int(first.offset)


def _fill(batch: Any, messages: Sequence[Message]) -> int:
    """Append messages to a batch until it is full; return how many it took."""
    # aiokafka's own append is Python around this one, which is compiled, and costs half as much again. The contract
    # suite reads back what was written so.
    append = batch._builder.append  # noqa: SLF001
    keys, values, headers, _ = zip(*messages, strict=True)
    taken = 0
    for made in map(append, count(), repeat(None), keys, values, map(list, headers)):
        if made is None:
            break
        taken += 1
    batch._relative_offset = taken  # noqa: SLF001
    batch.close()
    return taken


def _within(most_bytes: int, messages: Sequence[Message]) -> Sequence[Message]:
    """Return the first messages that take so much together; the first one in any case."""
    sizes = accumulate(message.size_bytes + _EACH_BYTES for message in messages)
    fit = sum(1 for _ in takewhile(lambda size: size <= most_bytes, sizes))
    return messages[: max(fit, 1)]


async def stopped(client: AIOKafkaProducer) -> None:
    """Stop a client; its connections end whatever becomes of its last requests, and however long we wait for them."""
    try:
        await client.stop()
    except KafkaError as broken:
        # aiokafka raises what a request met that was under way: a commit, say, of an id that another has opened.
        _log.info("a producer ends with a request unanswered: %r", broken)
    finally:
        # And then, or where it is cancelled, it leaves them open, with a task that asks for metadata for ever.
        await client.client.close()


def told(broken: BaseException, doing: str) -> Fenced | Retryable:
    """Return what we make of a producer's failure: another holds its transactional id, or it may work later."""
    if isinstance(broken, _HELD_BY_ANOTHER):
        return Fenced(f"{doing}: another holds the transactional id ({broken!r})")
    return trouble(broken, doing)
