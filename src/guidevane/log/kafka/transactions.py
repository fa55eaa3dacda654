"""Kafka's transactions: what one producer writes is seen as a whole or never (KIP-98).

aiokafka speaks the first version of the protocol: a producer is fenced by its id's epoch, not by
the generation of its group (KIP-447), and its epoch stays from one transaction to the next
(KIP-890). So an id belongs to one input partition, and after any trouble the producer is thrown
away: opening the id anew raises the epoch, and no late request of the old one can slip into a new
transaction.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from guidevane.log import Transactions
from guidevane.log.kafka.connection import Connection, started
from guidevane.log.kafka.producer import KafkaProducer, stopped, told
from guidevane.log.kafka.refusals import trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aiokafka import AIOKafkaProducer

    from guidevane.log import Committed, Partition
    from guidevane.log.kafka.batches import Batches

# aiokafka asserts where it means that a transaction cannot go on, and retries without an end where a
# coordinator does not answer.
_TROUBLE = (KafkaError, AssertionError, TimeoutError)
_OPENING_REQUESTS = 2
"""A new client may ask a broker that hangs first, and finds out only when that request's time is over: then another
one answers at once. A room opens its ids together, and where one of them is given up, all begin anew."""


class KafkaTransactions(KafkaProducer, Transactions):
    """The holder of one transactional id."""

    def __init__(self, client: AIOKafkaProducer, batches: Batches, transactional_id: str, within_s: float) -> None:
        super().__init__(client, batches)
        self.transactional_id = transactional_id
        self.within_s = within_s

    async def begin(self) -> None:
        """Begin: nothing is sent for it."""
        await self._within(self.client.begin_transaction(), "beginning")

    async def commit(self, group: str, places: Mapping[Partition, Committed]) -> None:
        """Send the places, then end the transaction."""
        offsets = {TopicPartition(*p): OffsetAndMetadata(c.offset, c.note) for p, c in places.items()}
        if offsets:
            await self._within(self.client.send_offsets_to_transaction(offsets, group), "writing places of")
        await self._within(self.client.commit_transaction(), "committing")

    async def abort(self) -> None:
        """End the transaction, unseen."""
        await self._within(self.client.abort_transaction(), "aborting")

    async def _within(self, call: Awaitable[None], doing: str) -> None:
        try:
            async with asyncio.timeout(self.within_s):
                await call
        except _TROUBLE as broken:
            # What ended the transaction says more than that it has ended.
            fatal = self._fatal()
            raise told(fatal or broken, f"{doing} a transaction of {self.transactional_id}") from broken

    def _fatal(self) -> BaseException | None:
        waiter = self.client._txn_manager._transaction_waiter  # noqa: SLF001 - aiokafka says it nowhere else
        return waiter.exception() if waiter is not None and waiter.done() and not waiter.cancelled() else None

    async def close(self) -> None:
        """Disconnect; what is open stays so, until the id is opened again or its time is over."""
        self._fatal()
        await super().close()
        # It may have ended just now: asked for, that is no news to the loop's log.
        self._fatal()


async def begun(
    client: AIOKafkaProducer, batches: Batches, transactional_id: str, connection: Connection
) -> KafkaTransactions:
    """Start a client that takes the id over. Raises ``Retryable`` where the coordinator does not answer in time."""
    try:
        async with asyncio.timeout(_OPENING_REQUESTS * connection.request_timeout_s):
            await started(client, connection)
    except (KafkaError, TimeoutError) as broken:
        with suppress(TimeoutError):
            async with asyncio.timeout(connection.request_timeout_s):
                await stopped(client)
        raise trouble(broken, f"opening the transactional id {transactional_id}") from broken
    return KafkaTransactions(client, batches, transactional_id, connection.request_timeout_s)
