"""Given a room on the real Kafka, when it gets more processes and fewer again, then every event is answered once."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.events import Control
from guidevane.local.child import Child
from guidevane.local.crew import Crew
from guidevane.local.ports import free_ports
from guidevane.local.supervisor import Supervisor
from guidevane.log import Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.topics import CONTROL, Topics

if TYPE_CHECKING:
    from guidevane.log import Producer

ROOT = Path(__file__).parents[2]
PARTITIONS = 2
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]


def ingest(number: int, name: str, bootstrap: str, folder: Path) -> Child:
    port, metrics = free_ports(2)
    return Child(
        name="ingest" if number == 0 else f"ingest-{number}",
        argv=(sys.executable, "-m", "guidevane.services.ingest"),
        log_path=folder / f"ingest-{number}.log",
        env={
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "WINDOWED_PIPELINE": name,
            "GUIDEVANE_PIPELINE": "tests.unit.services.windowed:PIPELINE",
            "GUIDEVANE_INSTANCE": f"{name}-ingest-{number}",
            "GUIDEVANE_HTTP_PORT": str(port),
            "GUIDEVANE_METRICS_PORT": str(metrics),
            "GUIDEVANE_PSEUDONYM_KEY": "for this test, thirty-two characters",
            "GUIDEVANE_STATE_DIR": str(folder),
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        },
        ready_url=f"http://127.0.0.1:{metrics}/readyz",
    )


async def feed(producer: Producer, topic: str, sent: list[str], stop: asyncio.Event) -> None:
    """Send a few events a partition again and again, until told to stop."""
    while not stop.is_set():
        for number in range(PARTITIONS):
            event_id = uuid.uuid4().hex
            event = {"who": f"w{number}", "at": 1_700_000_000_000_000, "id": event_id, "paid": 1.0, "shop": "baker"}
            await producer.send(topic, number, [Message(event["who"].encode(), orjson.dumps(event))])
            sent.append(event_id)
        await asyncio.sleep(0.01)


async def test_given_a_room_that_gets_a_second_process_and_loses_it_then_every_event_is_answered_once(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    topics = Topics(f"w{uuid.uuid4().hex[:8]}")
    log, codec = KafkaLog(Connection(kafka_bootstrap)), Codec(Catalogue())
    await log.ensure(topics.specs(PARTITIONS, windows=topics.windows("x")))
    producer, sent, stop = await log.producer(name="feed"), list[str](), asyncio.Event()

    def further(_room: str, number: int) -> Child:
        return ingest(number, topics.pipeline, kafka_bootstrap, tmp_path)

    async def staffed(crew: Crew, consumers: int, epoch: int) -> None:
        """As the controller does: written first, then done."""
        told = Control(
            pipeline=topics.pipeline, room="ingest", at_us=0, epoch=epoch, settings={"consumers": float(consumers)},
            actor="controller", reason="test",
        )  # fmt: skip
        key = f"{topics.pipeline}/ingest".encode()
        await producer.send(CONTROL, 0, [Message(key, codec.encode("control", told))])
        await crew.staff("ingest", consumers)
        async with asyncio.timeout(60):
            while crew.standing() != {"ingest": {"consumers": consumers, "ready": consumers}}:
                await asyncio.sleep(0.05)

    async def answered(at_least: int) -> None:
        async with asyncio.timeout(60):
            while sum((await log.ends(topics.accepted)).values()) < at_least:
                await asyncio.sleep(0.05)

    supervisor = Supervisor([further("ingest", 0)], state_dir=tmp_path, die_with_parent=True)
    supervisor.start()
    feeding = asyncio.create_task(feed(producer, topics.events, sent, stop))
    try:
        crew = Crew(supervisor, ["ingest"], further)
        await supervisor.wait_ready(60)
        await staffed(crew, 2, epoch=1)
        await answered(len(sent))
        await staffed(crew, 1, epoch=2)
        # The one that went left its partitions to the other: all that comes from now on is answered by it.
        await answered(len(sent) + 20)
        stop.set()
        await feeding
        await answered(len(sent))
    finally:
        feeding.cancel()
        await supervisor.stop()

    found: Counter[str] = Counter()
    for number in range(PARTITIONS):
        for record in await log.read(Partition(topics.accepted, number), 0):
            found[codec.decode("accepted", record.value, record.headers)["event_id"]] += 1
    await producer.close()
    await log.close()
    assert found == Counter(sent)
