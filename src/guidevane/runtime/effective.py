"""The default mode: answers are sent at once, places are committed now and then (``DELIVERY.md``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guidevane.runtime.delivery import Delivery, Outbox
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.log import Committed, Consumer, Message, Partition, Producer
    from guidevane.runtime.lingering import Lingering
    from guidevane.runtime.places import Place
    from guidevane.telemetry.metrics import Metrics


class Effective(Delivery, Outbox):
    """One producer for everything. Who takes over reads the outputs, so a crash repeats nothing (decision 0002).

    ``unawaited`` topics gather for a moment (decision 0009): the next stage has what is written there already.
    """

    atomic = False

    def __init__(
        self,
        producer: Producer,
        lingering: Lingering,
        *,
        clock: Clock,
        metrics: Metrics,
        unawaited: Collection[str] = (),
    ) -> None:
        self.producer = producer
        self.lingering = lingering
        self.unawaited = frozenset(unawaited)
        self.clock = clock
        self.metrics = metrics

    async def own(self, partitions: Sequence[Partition]) -> None:
        """Do nothing: a zombie's answers may appear, behind the owner's."""

    def outbox(self, ends: Mapping[Partition, int], places: Mapping[Partition, Place]) -> Outbox:
        """Return one outbox for all flights: what is posted, is sent."""
        del ends, places
        return self

    async def post(self, topic: str, number: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Send, or let it gather."""
        if topic in self.unawaited:
            return self.lingering.post(topic, number, messages)
        return await self.producer.post(topic, number, messages)

    async def seal(self) -> None:
        """Do nothing: the acknowledgements are awaited one by one."""

    async def remember(self, told: Sequence[tuple[str, int, Sequence[Message]]]) -> None:
        """Send, and wait until it is acknowledged."""
        for acknowledged in [await self.producer.post(*each) for each in told]:
            await acknowledged

    async def commit(self, consumer: Consumer, places: Mapping[Partition, Committed]) -> None:
        """Commit through the group, which refuses where we are no longer its member."""
        started_s = self.clock.monotonic_s()
        await consumer.commit(places)
        self.metrics.observe(names.COMMIT_DURATION_SECONDS, self.clock.monotonic_s() - started_s)

    async def disown(self) -> None:
        """Forget what has gathered."""
        self.lingering.drop()

    async def settled(self, within_s: float) -> bool:
        """Wait for the producer: it sends again until it is answered, whoever has given up waiting for that."""
        try:
            async with asyncio.timeout(within_s):
                await self.producer.flush()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Flush, then disconnect."""
        self.lingering.drop()
        await self.producer.close()
