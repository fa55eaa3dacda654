"""The two logs that one suite holds, and how to wait for what comes out of them."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from guidevane.log import Consumer, Log, Partition, Record
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.log.memory import MemoryLog
from guidevane.topics import TopicSpec

PARTITIONS = 3


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("kafka_bootstrap") if request.param == "kafka" else None


@pytest.fixture
async def log(bootstrap: str | None) -> AsyncIterator[Log]:
    if bootstrap is None:
        yield MemoryLog(PARTITIONS)
        return
    kafka = KafkaLog(Connection(bootstrap, session_timeout_s=6.0, request_timeout_s=10.0))
    yield kafka
    await kafka.close()


@pytest.fixture
async def topic(log: Log) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    await log.ensure([TopicSpec(name, PARTITIONS)])
    return name


async def gather(consumer: Consumer, count: int, within_s: float = 20.0) -> list[Record]:
    found: list[Record] = []
    deadline = time.monotonic() + within_s
    while len(found) < count and time.monotonic() < deadline:
        for records in (await consumer.fetch(timeout_s=0.2)).values():
            found.extend(records)
    return found


async def settle(consumers: list[Consumer], topic: str, within_s: float = 20.0) -> None:
    """Poll until every partition is owned by exactly one member."""
    deadline = time.monotonic() + within_s
    wanted = sorted(Partition(topic, n) for n in range(PARTITIONS))
    while time.monotonic() < deadline:
        for consumer in consumers:
            await consumer.fetch(timeout_s=0.05)
        owned = sorted(itertools.chain.from_iterable(c.assignment() for c in consumers))
        if owned == wanted and all(c.assignment() for c in consumers):
            return
    raise AssertionError(f"not settled: {[sorted(c.assignment()) for c in consumers]}")
