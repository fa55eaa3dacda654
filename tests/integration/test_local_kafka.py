"""The real broker, started from its jars."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from guidevane.errors import Misconfigured
from guidevane.local.kafka import LocalKafka

pytestmark = pytest.mark.kafka


@pytest.fixture
async def kafka(tmp_path: Path) -> AsyncIterator[LocalKafka]:
    broker = LocalKafka(tmp_path, die_with_parent=True)
    try:
        yield broker
    finally:
        await broker.stop()


async def run(broker: LocalKafka) -> None:
    await broker.start()
    await broker.wait_ready()


async def create_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)])
    finally:
        await admin.close()


async def send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=value)


async def read(bootstrap: str, topic: str, count: int) -> set[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id="g", auto_offset_reset="earliest")
    async with consumer:
        return {(await consumer.getone()).value for _ in range(count)}


async def test_what_was_written_survives_a_restart_and_a_kill_on_the_same_port(kafka: LocalKafka) -> None:
    await run(kafka)
    bootstrap = kafka.bootstrap
    await create_topic(bootstrap, "t")
    await send(bootstrap, "t", [b"1", b"2", b"3"])
    assert await read(bootstrap, "t", 3) == {b"1", b"2", b"3"}

    await kafka.stop()
    assert kafka.pid is None
    await run(kafka)
    assert kafka.bootstrap == bootstrap
    await send(bootstrap, "t", [b"4"])
    assert await read(bootstrap, "t", 1) == {b"4"}, "the committed offsets are kept too"

    os.kill(kafka.pid, signal.SIGKILL)
    await kafka.stop()
    await run(kafka)
    await send(bootstrap, "t", [b"5"])
    assert await read(bootstrap, "t", 1) == {b"5"}


async def test_a_second_broker_on_one_state_directory_is_refused_with_the_remedy(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    await run(kafka)
    with pytest.raises(Misconfigured, match=r"guidevane down --state-dir"):
        await LocalKafka(tmp_path).start()


async def test_a_broker_that_cannot_start_says_why(kafka: LocalKafka) -> None:
    kafka._heap = ("1k", "1k")
    with pytest.raises(Misconfigured, match=r"kafka\.log ends:\n(.*\n)*.*heap"):
        await run(kafka)


async def test_damaged_ports_are_told_of_where_data_are_and_drawn_anew_where_none_are(
    tmp_path: Path,
) -> None:
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data.parent / "ports.json").touch()
    (data / "meta.properties").touch()
    with pytest.raises(Misconfigured, match="is damaged"):
        await LocalKafka(tmp_path).start()
    (data / "meta.properties").unlink()
    broker = LocalKafka(tmp_path, die_with_parent=True)
    try:
        await run(broker)
    finally:
        await broker.stop()
