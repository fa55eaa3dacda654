"""Dead letters on the real broker: a room that stops for too many, and letters sent again, each once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_monitors_room import written

from guidevane.local.ports import free_ports
from guidevane.log import Message
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.stage import ORIGIN, REDRIVE
from guidevane.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(200)]

PIPELINE = """
from guidevane import Ensemble, Event, Member, Numeric, Pipeline

pipeline = Pipeline(
    name="NAME",
    event=Event("plant.reading.v1", key="sensor", schema={
        "type": "record", "name": "plant.reading",
        "fields": [{"name": "sensor", "type": "string"}, {"name": "value", "type": "double"}],
    }),
    features=[Numeric("value")],
    ensemble=Ensemble([Member("a", "m:a")]),
    partitions=2,
)
"""


class Ingest:
    """The ingest room in a process of its own."""

    def __init__(self, folder: Path, bootstrap: str, **settings: str) -> None:
        (self.port,) = free_ports(1)
        self.log = (folder / "ingest.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "guidevane.services.ingest"], cwd=folder, stdout=self.log, stderr=self.log,
            env={
                **os.environ, "GUIDEVANE_PIPELINE": "plant", "GUIDEVANE_STATE_DIR": str(folder),
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap, "GUIDEVANE_METRICS_PORT": str(self.port),
                "GUIDEVANE_SESSION_TIMEOUT_S": "3", "GUIDEVANE_INSTANCE": "ingest-0", **settings,
            },
        )  # fmt: skip

    def ask(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.read().decode()
        except OSError:
            return ""

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(30)
        self.log.close()
        return status


async def until(look: Callable[[], Awaitable[list[Any]]], good: Callable[[list[Any]], bool]) -> list[Any]:
    async with asyncio.timeout(90):
        while not good(found := await look()):
            await asyncio.sleep(0.1)
    return found


async def test_a_room_stops_for_too_many_dead_letters_loses_nothing_and_letters_are_sent_again_once(
    kafka_bootstrap, tmp_path
):
    name = f"p{uuid.uuid4().hex[:8]}"
    (tmp_path / "plant.py").write_text(PIPELINE.replace("NAME", name))
    topics, log = Topics(name), KafkaLog(Connection(kafka_bootstrap))
    await log.ensure(topics.specs(2))
    producer = await log.producer(name="test")
    for number in (0, 1):
        await producer.send(
            topics.events, number, [Message(b"k", b"\x07bad %d" % i, (("app", b"1"),)) for i in range(150)]
        )

    room = Ingest(tmp_path, kafka_bootstrap)

    async def said() -> list[str]:
        assert room.process.poll() is None, (tmp_path / "ingest.log").read_text()
        return [await asyncio.to_thread(room.ask, "readyz")]

    await until(said, lambda words: "GUIDEVANE_DEAD_LETTER_SHARE" in words[0])
    assert json.loads(room.ask("readyz"))["ready"] is False
    assert "guidevane_stopped{" in room.ask("metrics")
    assert room.end() == 78
    assert "bad_magic" in (tmp_path / "ingest.log").read_text()
    assert len(await written(log, topics.dlq)) < 150

    room = Ingest(tmp_path, kafka_bootstrap, GUIDEVANE_DEAD_LETTER_SHARE="1")

    async def letters() -> list:
        return await written(log, topics.dlq)

    await until(letters, lambda found: len(found) >= 300)
    origins = [(r.partition, r.header(ORIGIN)) for r in await letters()]
    assert len(set(origins)) == len(origins) == 300

    def redrive(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "guidevane.cli", "dlq", "redrive", name, "--bootstrap", kafka_bootstrap, *arguments],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        return done.stdout

    assert redrive("--partition", "1", "--dry-run").startswith("150 would be sent, 0 sent before")
    assert redrive("--partition", "1").startswith("150 sent, 0 sent before")
    assert redrive("1/0", "1/7", "1/149", "--json").count("was sent before") == 3
    # They die again, for nothing was mended: of that they have letters of their own.
    found = await until(letters, lambda found: len(found) >= 450)
    again = [record for record in found if record.header(REDRIVE) is not None]
    assert len(again) == 150 and {record.partition for record in again} == {1}
    assert {(r.key, r.value[:5], r.headers[0]) for r in again} == {(b"k", b"\x07bad ", ("app", b"1"))}
    assert {reasons(record)["exception.class"] for record in again} == {"bad_magic"}
    assert room.end() == 0
    await producer.close()
    await log.close()
