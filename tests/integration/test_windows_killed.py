"""The room that holds the windows, killed mid-stream: its features equal those of training, byte for byte.

``WINDOW_KILLS`` says how often (once; ``make test-windows``: ten times), ``WINDOW_DELIVERY`` in which mode; the
seed is printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.unit.services.windowed import PIPELINE, offline, served

from guidevane.local.ports import free_ports
from guidevane.log import Message, Partition, Record
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.log.murmur import murmur2
from guidevane.topics import Topics

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("WINDOW_KILLS", "1"))
DELIVERY = os.environ.get("WINDOW_DELIVERY", "effective")
SEED = int(os.environ.get("WINDOW_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
BETWEEN = 30

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150 + 60 * KILLS)]


async def start(room: str, name: str, bootstrap: str, folder: Path) -> Process:
    [port] = free_ports(1)
    with (folder / f"{room}.log").open("ab") as said:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"guidevane.services.{room}",
            cwd=ROOT, stderr=said, stdout=said,
            env={
                **os.environ,
                "WINDOWED_PIPELINE": name,
                "GUIDEVANE_PIPELINE": "tests.unit.services.windowed:PIPELINE",
                "GUIDEVANE_DELIVERY": DELIVERY,
                "GUIDEVANE_INSTANCE": f"{room}-1",
                "GUIDEVANE_HTTP_PORT": str(port),
                "GUIDEVANE_PSEUDONYM_KEY": "for this test, thirty-two characters",
                "GUIDEVANE_STATE_DIR": str(folder),
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            },
        )  # fmt: skip


@asynccontextmanager
async def ended(processes: list[Process]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def count(log: KafkaLog, topic: str) -> int:
    return sum((await log.ends(topic)).values())


async def read(log: KafkaLog, topic: str) -> list[Record]:
    ends = await log.ends(topic)
    return [each for number, end in ends.items() for each in await log.read(Partition(topic, number), 0, end)]


async def until(log: KafkaLog, topic: str, enough: int, process: Process) -> None:
    async with asyncio.timeout(90):
        while await count(log, topic) < enough:
            assert process.returncode is None, "the room ended by itself: see its log"
            await asyncio.sleep(0.01)


def visits(draws: random.Random, now_s: int) -> list[dict[str, Any]]:
    """Return a few events about now: one in ten comes late, one in twenty comes twice."""
    found = []
    for _ in range(20):
        late_s = draws.choice([30, 200, 900]) if draws.random() < 0.1 else 0
        event = {
            "who": draws.choice(["ann", "bob", "cid", "dan", "eva"]),
            "at": (now_s - late_s) * 1_000_000 + draws.randrange(1_000_000),
            "id": f"{draws.getrandbits(64):x}",
            "paid": draws.choice([None, draws.uniform(0, 1e6), draws.expovariate(1.0)]),
            "shop": draws.choice(["baker", "smith", "grocer", "butcher"]),
        }
        found += [event] * (2 if draws.random() < 0.05 else 1)
    return found


async def feed(log: KafkaLog, topic: str, stop: asyncio.Event, draws: random.Random) -> None:
    """Send events until told to stop: four seconds of event time with every batch."""
    producer = await log.producer(name="feed")
    now_s = 1_700_000_000
    while not stop.is_set():
        by_partition: dict[int, list[Message]] = {0: [], 1: []}
        for event in visits(draws, now_s):
            number = (murmur2(event["who"].encode()) & 0x7FFFFFFF) % PIPELINE.partitions
            by_partition[number].append(Message(event["who"].encode(), orjson.dumps(event)))
        for number, messages in by_partition.items():
            if messages:
                await producer.send(topic, number, messages)
        now_s += 4
        await asyncio.sleep(0.03)
    await producer.close()


async def test_given_kill_9_in_the_stream_features_equal_an_offline_computation(kafka_bootstrap, tmp_path):
    draws = random.Random(SEED)
    topics = Topics(f"w{uuid.uuid4().hex[:8]}")
    log = KafkaLog(Connection(kafka_bootstrap))
    windows = topics.windows(PIPELINE.windows_topic.rpartition(".")[2])
    await log.ensure(topics.specs(PIPELINE.partitions, windows=windows))
    stop = asyncio.Event()
    processes = [await start("ingest", topics.pipeline, kafka_bootstrap, tmp_path)]
    feeding = asyncio.create_task(feed(log, topics.events, stop, draws))
    async with ended(processes):
        written = []
        for life in range(KILLS):
            room = await start("preprocess", topics.pipeline, kafka_bootstrap, tmp_path)
            processes.append(room)
            # In most lives once the table was written: the next life has to believe it.
            watched = windows if life == 0 or draws.random() < 0.7 else topics.features
            await until(log, watched, await count(log, watched) + draws.randrange(1, BETWEEN), room)
            # Anywhere between a fetch and a commit: the rhythm of commits is half a second.
            await asyncio.sleep(draws.uniform(0, 0.6))
            room.send_signal(signal.SIGKILL)
            await room.wait()
            written.append(await count(log, windows))
        stop.set()
        await feeding
        room = await start("preprocess", topics.pipeline, kafka_bootstrap, tmp_path)
        processes.append(room)
        await until(log, topics.accepted, 1, room)
        async with asyncio.timeout(60):
            while True:
                done = await count(log, topics.features)
                await asyncio.sleep(1.0)
                if done != await count(log, topics.features):
                    continue
                # Records, not ends: transactions leave their markers on each topic, and as many as they like.
                if len(await read(log, topics.accepted)) == len(await read(log, topics.features)):
                    break
        for process in (room, processes[0]):
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0

    accepted = await read(log, topics.accepted)
    right, found = offline(accepted), served(await read(log, topics.features))
    # Told in few words: to compare thousands of vectors in full takes minutes.
    other = sorted(each for each in right.keys() | found.keys() if right.get(each) != found.get(each))
    assert not other[:3], f"{len(other)} of {len(right)} differ, WINDOW_SEED={SEED}"
    assert written[0] > 0, "the second life had a table to believe"
    assert await read(log, topics.dlq) == []
    await log.close()
