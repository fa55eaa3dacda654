"""The monitors room as a process, against the real broker, killed on the way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.services.monitored import CODEC, feed

from guidevane.log import Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.log.memory import MemoryLog
from guidevane.topics import Topics

if TYPE_CHECKING:
    from asyncio.subprocess import Process

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
INPUTS = ("accepted", "decisions", "labels")


async def start(name: str, bootstrap: str, folder: Path) -> Process:
    with (folder / "room.log").open("ab") as said:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "guidevane.services.monitors",
            cwd=ROOT, stderr=said, stdout=said,
            env={
                **os.environ,
                "MONITORED_PIPELINE": name,
                "GUIDEVANE_PIPELINE": "tests.unit.services.monitored:PIPELINE",
                "GUIDEVANE_STATE_DIR": str(folder),
                "GUIDEVANE_SNAPSHOT_EVERY_S": "0.3",
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            },
        )  # fmt: skip


async def written(log: KafkaLog, topic: str) -> list[Any]:
    return [
        record
        for number, end in (await log.ends(topic)).items()
        for record in await log.read(Partition(topic, number), 0, end)
    ]


async def until_outcomes(log: KafkaLog, topic: str, count: int, process: Process) -> None:
    async with asyncio.timeout(60):
        while sum((await log.ends(topic)).values()) < count:
            assert process.returncode is None
            await asyncio.sleep(0.05)


async def test_given_kill_9_twice_the_outcomes_are_the_offline_join_and_no_alert_comes_twice(kafka_bootstrap, tmp_path):
    topics = Topics(f"p{uuid.uuid4().hex[:8]}")
    log = KafkaLog(Connection(kafka_bootstrap))
    await log.ensure(topics.specs(12))
    made = MemoryLog(partitions=12)
    truth = await feed(made, random.Random(5), 1500)
    producer = await log.producer(name="test")

    async def write(part: int) -> None:
        for kind in INPUTS:
            for number, records in enumerate(made.topic(f"p.{kind}")):
                third = len(records) // 3 + 1
                messages = [Message(r.key, r.value) for r in records[part * third : (part + 1) * third]]
                if messages:
                    await producer.send(getattr(topics, kind), number, messages)

    for part in range(2):
        already = sum((await log.ends(topics.outcomes)).values())
        process = await start(topics.pipeline, kafka_bootstrap, tmp_path)
        await write(part)
        await until_outcomes(log, topics.outcomes, already + 50, process)
        process.kill()
        await process.wait()
    process = await start(topics.pipeline, kafka_bootstrap, tmp_path)
    await write(2)
    await until_outcomes(log, topics.outcomes, len(truth), process)
    process.send_signal(signal.SIGTERM)

    assert await asyncio.wait_for(process.wait(), 30) == 0
    outcomes = [CODEC.decode("outcome", record.value) for record in await written(log, topics.outcomes)]
    newest = {each["event_id"]: each["label"] for each in sorted(outcomes, key=lambda each: each["revision"])}
    joined = [(each["event_id"], each["revision"]) for each in outcomes]
    alerts = [CODEC.decode("alert", record.value)["alert_id"] for record in await written(log, topics.alerts)]
    assert newest == truth
    assert len(joined) == len(set(joined))
    assert len(alerts) == len(set(alerts)) > 100
    assert "not repeated" not in (tmp_path / "room.log").read_text()
    await producer.close()
    await log.close()
