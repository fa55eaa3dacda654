"""Given a broker that hangs, then readers ask again by a client that learns anew, and writers keep their place."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import RecordMetadata

from guidevane.errors import Retryable
from guidevane.log import Message, Partition
from guidevane.log.kafka import Connection, KafkaLog, cluster
from guidevane.log.kafka.batches import Batches
from guidevane.log.kafka.producer import KafkaProducer


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


class Full:
    """aiokafka's producer, as far as it is asked: twice there is no place behind the batch before."""

    def __init__(self, full: int = 2) -> None:
        self.full = full
        self.asked: list[int] = []
        self.batches: list[BatchBuilder] = []

    def create_batch(self):
        return BatchBuilder(1 << 20, 0, is_transactional=False, key_serializer=None, value_serializer=None)

    async def send_batch(self, batch, topic, *, partition):
        self.asked.append(batch.record_count())
        if len(self.asked) <= self.full:
            raise KafkaTimeoutError
        self.batches.append(batch)
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, partition, TopicPartition(topic, partition), 7, -1, 0, 0))
        return sent


async def test_who_finds_no_place_behind_what_is_still_sent_waits_on():
    client = Full()
    producer = KafkaProducer(client, Batches())
    assert await producer.send("p.out", 0, [Message(None, b"a"), Message(None, b"b")]) == 7
    assert client.asked == [2, 2, 2]


def sent(client: Full) -> list[list[tuple]]:
    """Return what each batch holds, as a reader parses it."""
    return [
        [(r.key, r.value, tuple(r.headers)) for r in DefaultRecordBatch(bytes(batch._build()))]
        for batch in client.batches
    ]


@pytest.mark.parametrize("most", [None, 1000])
async def test_messages_fill_batches_in_their_order_and_one_that_is_large_goes_alone(most: int | None):
    client, batches = Full(full=0), Batches()
    if most is not None:
        batches._most["p.out"] = most
    sizes = [300, 300, 300, 5000, 10, 700_000, 700_000, 10]
    messages = [Message(b"%d" % at, bytes(size), (("h", b"v"), ("none", None))) for at, size in enumerate(sizes)]
    await KafkaProducer(client, batches).send("p.out", 0, messages)
    found = sent(client)
    assert [record for batch in found for record in batch] == [(m.key, m.value, m.headers) for m in messages]
    assert [len(batch) for batch in found] == ([6, 2] if most is None else [2, 1, 1, 1, 1, 1, 1])
    assert [batch.record_count() for batch in client.batches] == [len(batch) for batch in found]
