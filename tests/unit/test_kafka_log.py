"""Given a broker that hangs, then who looks into Kafka asks again by a client that learns anew who leads."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaTimeoutError

from guidevane.errors import Retryable
from guidevane.log import Partition
from guidevane.log.kafka import Connection, KafkaLog, cluster


class Client:
    """aiokafka's consumer, as far as it is asked; the first two take the broker that hangs for the leader."""

    made: list[Client]

    def __init__(self, **_: object) -> None:
        self.stale, self.stopped = len(Client.made) < 2, False
        Client.made.append(self)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    def assign(self, _: object) -> None: ...

    def unsubscribe(self) -> None: ...

    async def end_offsets(self, partitions):
        if self.stale:
            raise KafkaTimeoutError("Failed to get offsets by times in 10000 ms")
        return dict.fromkeys(partitions, 7)

    async def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, 7)


async def test_a_question_that_nobody_answered_is_asked_again_by_another_client(monkeypatch):
    Client.made = []
    monkeypatch.setattr(cluster, "AIOKafkaConsumer", Client)
    log = KafkaLog(Connection("k:9092"))
    # One of them asks, the other reads: both were there before the broker hung.
    with pytest.raises(Retryable, match="no answer in time → guidevane doctor"):
        await log.read(Partition("p.out", 0), 0)
    assert [each.stopped for each in Client.made] == [True, True]
    assert await log.ends("p.out") == {0: 7}
    await log.close()
    assert all(each.stopped for each in Client.made)
