"""Writing to the log in memory, plainly or in transactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from guidevane.errors import GuidevaneError, Misconfigured, Retryable
from guidevane.log import Committed, Message, Partition, Producer, Transactions
from guidevane.log.murmur import murmur2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from guidevane.log.memory.cluster import MemoryLog


class Holder(NamedTuple):
    """Who may write under a transactional id: the one with the newest epoch."""

    transactional_id: str
    epoch: int


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
            done.set_result(await self._append(topic, partition, messages))
        except GuidevaneError as failed:
            self._broken.add(where)
            done.set_exception(failed)
            # Whoever has started over meanwhile need not ask.
            done.exception()
        return done

    async def send_keyed(self, topic: str, message: Message) -> Partition:
        """Append one message to the partition of its key; one without a key goes to partition 0."""
        count = len(self.log.topic(topic))
        number = (murmur2(message.key) & 0x7FFFFFFF) % count if message.key is not None else 0
        await self._append(topic, number, [message])
        return Partition(topic, number)

    async def flush(self) -> None:
        """Nothing is buffered."""

    async def close(self) -> None:
        """Nothing is buffered."""

    async def _append(self, topic: str, partition: int, messages: Sequence[Message]) -> int:
        return await self.log.append(topic, partition, messages)


class MemoryTransactions(MemoryProducer, Transactions):
    """Writes to a :class:`MemoryLog` what is seen as a whole or never."""

    def __init__(self, log: MemoryLog, holder: Holder) -> None:
        super().__init__(log)
        self.holder = holder
        self._begun = False

    async def begin(self) -> None:
        """Begin."""
        if self._begun:
            raise Misconfigured(f"{self.holder.transactional_id} has a transaction open: commit or abort it first")
        self._begun = True

    async def commit(self, group: str, places: Mapping[Partition, Committed]) -> None:
        """Show what was posted, and write the places down."""
        if self._broken:
            raise Retryable(f"a batch of {self.holder.transactional_id} failed: its transaction cannot be committed")
        await self.log.end(self.holder, commit=True, group=group, places=places)
        self._begun = False

    async def abort(self) -> None:
        """Hide what was posted."""
        await self.log.end(self.holder, commit=False)
        self._begun = False

    async def _append(self, topic: str, partition: int, messages: Sequence[Message]) -> int:
        if not self._begun:
            raise Misconfigured(f"{self.holder.transactional_id} has no transaction open: begin one first")
        return await self.log.append(topic, partition, messages, holder=self.holder)
