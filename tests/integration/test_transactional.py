"""The transactional mode on the real Kafka: rooms are killed under load, and frozen past their session."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from guidevane.log import Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.runtime.stage import ORIGIN
from guidevane.topics import TopicSpec

PARTITIONS = 12
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.kafka


@asynccontextmanager
async def room(bootstrap: str, topic: str, instance: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.modes.room", "transactional", bootstrap, topic, instance, "3",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGCONT)
            child.terminate()
        await child.wait()


async def seen(log: KafkaLog, topic: str) -> dict[int, list[int]]:
    return {
        number: [int(r.header(ORIGIN) or b"-1") for r in await log.read(Partition(f"{topic}.out", number), 0)]
        for number in range(PARTITIONS)
    }


async def written(log: KafkaLog, topic: str) -> int:
    return sum((await log.ends(f"{topic}.out")).values())


async def until(condition, within_s: float = 40.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_no_kill_and_no_zombie_shows_an_outcome_twice_or_loses_one(kafka_bootstrap: str):
    log = KafkaLog(Connection(kafka_bootstrap, session_timeout_s=3.0))
    topic, enough, rounds = f"t-{uuid.uuid4().hex[:12]}", asyncio.Event(), 0
    await log.ensure([TopicSpec(f"{topic}.{kind}", PARTITIONS) for kind in ("events", "out", "dlq")])
    producer = await log.producer(name="p")

    async def produce() -> None:
        nonlocal rounds
        while not enough.is_set():
            for number in range(PARTITIONS):
                await producer.post(f"{topic}.events", number, [Message(b"k", b"v")] * 10)
            rounds += 1
            await asyncio.sleep(0.05)

    async def grown_by(count: int) -> None:
        start = await written(log, topic)

        async def grown() -> bool:
            return await written(log, topic) >= start + count

        await until(grown)

    producing = asyncio.create_task(produce())
    for _ in range(2):
        async with room(kafka_bootstrap, topic, "a") as killed:
            await grown_by(500)
            killed.kill()
    async with room(kafka_bootstrap, topic, "a") as zombie:
        await grown_by(500)
        zombie.send_signal(signal.SIGSTOP)
        async with room(kafka_bootstrap, topic, "b"):
            # What it had under way may still arrive; this much can only be the successor's.
            await grown_by(2000)
            zombie.send_signal(signal.SIGCONT)
            await grown_by(2000)
            enough.set()
            await producing

            async def everything() -> bool:
                return sum(map(len, (await seen(log, topic)).values())) >= rounds * PARTITIONS * 10

            await until(everything)
    outcomes = await seen(log, topic)
    for number in range(PARTITIONS):
        assert max(Counter(outcomes[number]).values()) == 1, "nothing is seen twice"
        assert outcomes[number] == list(range(rounds * 10)), "nothing is lost, and the order is kept"
    await producer.close()
    await log.close()
