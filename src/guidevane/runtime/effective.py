"""The default mode: answers are sent at once, places are committed now and then (``DELIVERY.md``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.runtime.delivery import Delivery, Outbox
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.log import Consumer, Message, Partition, Producer
    from guidevane.runtime.places import Place
    from guidevane.telemetry.metrics import Metrics


class Effective(Delivery, Outbox):
    """One producer for everything. Who takes over reads the outputs, so a crash repeats nothing (decision 0002)."""

    def __init__(self, producer: Producer, *, clock: Clock, metrics: Metrics) -> None:
        self.producer = producer
        self.clock = clock
        self.metrics = metrics

    async def own(self, partitions: Sequence[Partition]) -> None:
        """Do nothing: a zombie's answers may appear, behind the owner's."""

    def outbox(self, ends: Mapping[Partition, int], places: Mapping[Partition, Place]) -> Outbox:
        """Return one outbox for all flights: what is posted, is sent."""
        del ends, places
        return self

    async def post(self, topic: str, number: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Send."""
        return await self.producer.post(topic, number, messages)

    async def seal(self) -> None:
        """Do nothing: the acknowledgements are awaited one by one."""

    async def commit(self, consumer: Consumer, places: Mapping[Partition, Place]) -> None:
        """Commit through the group, which refuses where we are no longer its member."""
        started_s = self.clock.monotonic_s()
        await consumer.commit({partition: place.committed() for partition, place in places.items()})
        self.metrics.observe(names.COMMIT_DURATION_SECONDS, self.clock.monotonic_s() - started_s)

    async def disown(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Flush, then disconnect."""
        await self.producer.close()
