"""Given messages that Kafka refuses for their size, when they are sent, then order holds, and what can be taken is."""

from __future__ import annotations

import asyncio
import os
import uuid

import pytest

from guidevane.errors import Reject, Retryable, TooLarge
from guidevane.log import Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.log.renewed import Renewed
from guidevane.topics import TopicSpec

pytestmark = pytest.mark.kafka


async def topic(bootstrap: str, partitions: int, *, most_bytes: int = 1 << 20) -> tuple[KafkaLog, str]:
    """Return a cluster and a topic of its own in it that takes batches of so many bytes."""
    log = KafkaLog(Connection(bootstrap))
    name = f"t-{uuid.uuid4().hex[:12]}"
    await log.ensure([TopicSpec(name, partitions, {"max.message.bytes": f"{most_bytes}"})])
    return log, name


async def test_a_message_that_the_broker_will_not_take_is_rejected(kafka_bootstrap: str):
    log, name = await topic(kafka_bootstrap, 1)
    producer = await log.producer(name="p")
    with pytest.raises(Reject, match="exceeds the limit"):
        await producer.send_keyed(name, Message(b"k", b"x" * (8 << 20)))
    await producer.close()
    await log.close()


async def test_who_writes_as_long_as_a_room_lives_goes_on_behind_what_the_broker_refused(kafka_bootstrap: str):
    log, name = await topic(kafka_bootstrap, 1, most_bytes=10_000)
    producer = await Renewed.open(log, name="p")
    with pytest.raises(TooLarge):
        await producer.send(name, 0, [Message(b"k", os.urandom(20_000))])
    assert await producer.send(name, 0, [Message(b"k", b"small")]) == 0
    await producer.close()
    await log.close()


async def test_what_is_sent_behind_a_batch_that_is_refused_does_not_land_without_it(kafka_bootstrap: str):
    log, name = await topic(kafka_bootstrap, 2, most_bytes=10_000)
    for before in ([], [Message(b"k", b"before")]):
        producer = await log.producer(name="p")
        if before:
            await producer.send(name, 1, before)
        large, small = Message(b"k", os.urandom(20_000)), Message(b"k", b"behind")
        sends = (producer.send(name, len(before), [each]) for each in (large, small))
        told = await asyncio.gather(*sends, return_exceptions=True)
        await producer.close()
        assert [type(each) for each in told] in ([TooLarge, Retryable], [TooLarge, TooLarge])
        found = await log.read(Partition(name, len(before)), 0)
        assert [record.value for record in found] == [each.value for each in before]
    await log.close()


async def test_a_topic_that_takes_only_some_messages_at_once_gets_them_in_parts(kafka_bootstrap: str):
    log, name = await topic(kafka_bootstrap, 1, most_bytes=40_000)
    messages = [Message(b"k", os.urandom(1000)) for _ in range(300)]
    refusals = 0
    while True:
        producer = await log.producer(name="p")
        try:
            await producer.send(name, 0, messages)
            break
        except Retryable as refused:
            assert not isinstance(refused, TooLarge)
            refusals += 1
        finally:
            await producer.close()
    assert 0 < refusals < 6
    assert [record.value for record in await log.read(Partition(name, 0), 0)] == [each.value for each in messages]
    await log.close()
