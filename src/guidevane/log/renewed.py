"""A producer for who writes as long as a room lives, one thing after another, and has nothing to start over."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from guidevane.errors import GuidevaneError, Retryable
from guidevane.log import Partition, Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from typing import Self

    from guidevane.log import Log, Message

_CLOSE_S = 5.0


class Renewed(Producer):
    """After a failure, another producer: one that failed takes nothing more for the partition, however long it lives.

    What was posted side by side with what failed may land behind what is posted after it: whoever wants an order
    waits for one answer before the next question.
    """

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._name = name
        self._producer: Producer | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, log: Log, *, name: str) -> Self:
        """Return one whose first producer is started. Raises ``Retryable`` where no broker answers."""
        producer = cls(log, name)
        async with producer._whole():
            return producer

    async def post(self, topic: str, partition: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Post with the producer that is whole now."""
        async with self._whole() as producer:
            return self._landed(producer, await producer.post(topic, partition, messages))

    async def send_keyed(self, topic: str, message: Message) -> Partition:
        """Send with the producer that is whole now."""
        async with self._whole() as producer:
            return await producer.send_keyed(topic, message)

    async def flush(self) -> None:
        """Wait for what the producer that is whole now has under way."""
        if self._producer is not None:
            await self._producer.flush()

    async def close(self) -> None:
        """Flush, then disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()
        await asyncio.gather(*self._closing)

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[Producer]:
        async with self._opening:
            if self._producer is None:
                self._producer = await self._log.producer(name=self._name)
            producer = self._producer
        try:
            yield producer
        except Retryable:
            self._give_up(producer)
            raise

    async def _landed(self, producer: Producer, posted: Awaitable[int]) -> int:
        try:
            return await posted
        except Retryable:
            self._give_up(producer)
            raise

    def _give_up(self, producer: Producer) -> None:
        if self._producer is producer:
            self._producer = None
            closing = asyncio.create_task(_closed(producer))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _closed(producer: Producer) -> None:
    # What it still has for other partitions may land; a cluster that is gone keeps nobody waiting.
    with suppress(GuidevaneError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await producer.close()
