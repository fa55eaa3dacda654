"""The door, the admin room and the reading commands, against the real broker."""

from __future__ import annotations

import asyncio
import uuid

import httpx
import pytest

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.commands import dlq, topics
from guidevane.commands.letters import Wanted, one
from guidevane.commands.records import shown
from guidevane.contract import Contract
from guidevane.control.audit import verify
from guidevane.errors import Reject
from guidevane.event import Event
from guidevane.events import derived_id
from guidevane.log import Message, Partition, Record
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.runtime.deadletter import dead_letter
from guidevane.services.admin.http import admin_app
from guidevane.services.admin.service import AdminRoom
from guidevane.services.admin.state import Subject
from guidevane.services.ingest.http import Entry, door
from guidevane.slo import Latency
from guidevane.telemetry.health import Health
from guidevane.topics import AUDIT, Topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

PING = {"type": "record", "name": "net.ping", "fields": [{"name": "host", "type": "string"}]}


@pytest.fixture
async def log(kafka_bootstrap: str):
    log = KafkaLog(Connection(kafka_bootstrap))
    yield log
    await log.close()


def client_of(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


async def test_given_events_over_http_then_they_can_be_tailed_under_the_ids_that_were_told(log: KafkaLog) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    await log.ensure(Topics(name).specs(3))
    codec = Codec(Catalogue())
    contract = Contract(Event("net.ping.v1", schema=PING, key="host"), codec)
    producer = await log.producer(name="door")
    app = door({name: Entry(f"{name}.events", 3, contract)}, producer=producer, clock=SystemClock())
    async with client_of(app) as client:
        answer = await client.post(f"/v1/pipelines/{name}/events", json=[{"host": f"h{n % 5}"} for n in range(50)])
    await producer.close()
    assert answer.status_code == 202, answer.text

    lines: list[dict] = []
    await topics.follow(log, f"{name}.events", codec, lines.append, from_start=True, until_end=True, most=None)

    assert sorted(line["headers"]["event_id"] for line in lines) == sorted(answer.json()["event_ids"])
    listed = {row["topic"]: row for row in await topics.overview(log, name)}
    assert listed[f"{name}.events"] == {
        "topic": f"{name}.events",
        "partitions": 3,
        "records_ever": 50,
        "carries": listed[f"{name}.events"]["carries"],
    }


async def test_given_a_running_admin_room_then_decisions_are_found_and_pauses_are_audited(log: KafkaLog) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    await log.ensure(Topics(name).specs(3))
    codec, clock, stop = Codec(Catalogue()), SystemClock(), asyncio.Event()
    producer = await log.producer(name="test")
    room = AdminRoom(log, producer, codec, [Subject(name, Latency())], clock, health=Health(clock))
    for n in range(30):
        decision = {
            "decision_id": derived_id(name, f"e{n}"), "event_id": f"e{n}", "event_time_us": n, "pipeline": name,
            "score": 0.5, "probability": 0.5, "threshold": 0.5, "decision": "yes", "positive": True, "outcome": "full",
            "models": {}, "protected": {},
        }  # fmt: skip
        await producer.send(f"{name}.decisions", n % 3, [Message(b"k", codec.encode("decision", decision))])
    letter = dead_letter(
        Record(f"{name}.events", 1, 2, b"k", b"{"), Reject("truncated", "ends"), stage="ingest", group="g", now_us=5
    )
    await producer.send(f"{name}.dlq", 2, [letter])
    following = asyncio.create_task(room.run(stop))
    async with client_of(admin_app(room)) as client, asyncio.timeout(60):
        while (await client.get("/readyz")).status_code != 200:
            assert not following.done(), following
            await asyncio.sleep(0.05)
        found = await client.get(f"/v1/pipelines/{name}/decisions/e17")
        letters = await client.get(f"/v1/pipelines/{name}/dead-letters")
        order = {"reason": "roll-out", "actor": "ada"}
        paused, again = await asyncio.gather(
            client.post("/v1/controller/pause", json=order), client.post("/v1/controller/pause", json=order)
        )
    stop.set()
    await following
    await producer.close()

    assert found.json()["place"]["offset"] == 5
    assert found.json()["decided_at_us"] > 1e15
    assert letters.json()[0]["cause"] == "truncated"
    assert sorted([paused.json()[0]["epoch"], again.json()[0]["epoch"]]) in ([1, 2], [2, 2])
    rows = [codec.decode("audit", record.value) for record in await log.read(Partition(AUDIT, 0), 0)]
    assert verify(rows) is None
    assert [each["action"] for each in rows if each["object"] == f"{name}/controller"] == ["pause", "pause"]
    (found,) = await dlq.newest(log, name, codec, Wanted(), most=5)
    assert shown(await one(log, f"{name}.dlq", "2/0"), codec) | {"redriven": None} == found
