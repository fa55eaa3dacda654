"""Writing to Kafka: whole batches, in the order in which they were posted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)

from guidevane.errors import Fenced, Reject, Retryable, TooLarge
from guidevane.log import Message, Partition, Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence

    from aiokafka import AIOKafkaProducer

# An id that was taken over; a transaction that the coordinator ended for us; an id that it forgot.
_HELD_BY_ANOTHER = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState, InvalidProducerIdMapping)


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
                raise told(broken, f"sending to {topic}/{partition}") from broken
        return _FirstOffset(waiting, topic, partition, messages)

    async def _enqueue(self, topic: str, partition: int, messages: Sequence[Message]) -> list[Any]:
        waiting: list[Any] = []
        batch = self.client.create_batch()
        for key, value, headers, _ in messages:
            said = list(headers)
            if batch.append(timestamp=None, key=key, value=value, headers=said) is None:
                waiting.append(await self.client.send_batch(batch, topic, partition=partition))
                batch = self.client.create_batch()
                if batch.append(timestamp=None, key=key, value=value, headers=said) is None:
                    raise Reject("too_large", f"a message of {len(value or b'')} bytes exceeds the limit")
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
            raise told(broken, f"sending to {topic}") from broken
        return Partition(topic, sent.partition)

    async def close(self) -> None:
        """Flush, then disconnect."""
        await self.client.stop()


@dataclass(frozen=True, slots=True, eq=False)
class _FirstOffset:
    """Awaited, gives the first offset once every batch is acknowledged. No task, no coroutine: there are many."""

    batches: list[Any]
    topic: str
    partition: int
    messages: Sequence[Message]

    def __await__(self) -> Generator[Any, None, int]:
        try:
            first = yield from self.batches[0].__await__()
            for batch in self.batches[1:]:
                yield from batch.__await__()
        except MessageSizeTooLargeError as large:
            # Small messages share a batch that any topic takes: it is the largest one that does not fit.
            raise TooLarge(self.topic, max(message.size_bytes for message in self.messages)) from large
        except KafkaError as broken:
            raise told(broken, f"sending to {self.topic}/{self.partition}") from broken
        return int(first.offset)


def told(broken: BaseException, doing: str) -> Fenced | Retryable:
    """Return what we make of a producer's failure: another holds its transactional id, or it may work later."""
    if isinstance(broken, _HELD_BY_ANOTHER):
        return Fenced(f"{doing}: another holds the transactional id ({broken!r})")
    return Retryable(f"{doing}: {broken!r}")
