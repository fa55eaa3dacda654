"""The doctor and the real broker."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from guidevane.doctor import Where, cluster
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.topics import Topics, TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


async def test_a_broker_is_looked_over_and_what_is_wrong_with_a_topic_is_told(kafka_bootstrap, tmp_path):
    name, log = f"p{uuid.uuid4().hex[:8]}", KafkaLog(Connection(kafka_bootstrap))
    topics = Topics(name)
    await log.ensure(topics.specs(2))
    where = Where(state_dir=tmp_path, kafka=kafka_bootstrap, pipeline=name)
    broker, found, clock = await asyncio.gather(cluster.broker(where), cluster.topics(where), cluster.clock(where))
    assert (broker.status, "Kafka 4.1 or newer" in broker.says) == ("ok", True), broker
    assert (found.status, found.says) == ("ok", f"{name}: 2 partitions each")
    assert clock.status == "ok", clock

    await log.remove([topics.decisions])
    await log.ensure([TopicSpec(topics.decisions, 3)])
    found = await cluster.topics(where)
    assert found.status == "fail"
    assert f"{topics.decisions} has 3 partitions, not 2" in found.says
    assert f"{topics.decisions} has message.timestamp.type=CreateTime, not LogAppendTime" in found.says
    await log.close()
