"""Whoever sends: other clients, other formats, HTTP, and bytes that are no events. One platform for all of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.loading import load_pipeline
from guidevane.pipelines.employment.data import load

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

PIPELINE = load_pipeline("employment")
CATALOGUE = Catalogue()
CATALOGUE.learn(PIPELINE.event)
CODEC = Codec(CATALOGUE)

HOSTILE = {
    "empty": b"",
    "bad_magic": b"\x07garbage",
    "short": b"\x00\x00",
    "unknown_schema": b"\x00\x00\x00\x00\x01rest",
    "wrong_contract": CODEC.encode("label", {"event_id": "e", "label": 1.0, "observed_at_us": None}),
    "not_json": b"{not json",
    "array": b"[1, 2, 3]",
    "deep": b'{"a":' * 5000,
    "missing": b'{"person_id": "1"}',
    "bad_utf8": b'{"person_id": "\xff\xfe"}',
    "huge_number": json.dumps({**load().event(0, event_id="n"), "age": 2**70}).encode(),
    "text_for_number": json.dumps({**load().event(0, event_id="t"), "age": "old"}).encode(),
    "truncated": CODEC.encode(PIPELINE.event.name, load().event(3, event_id="x"))[:-4],
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    folder = tmp_path_factory.mktemp("up")
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "guidevane.cli", "up", "employment", "--state-dir", str(folder / "state")],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
        path, deadline = folder / "state" / "endpoints.json", time.monotonic() + 240
        while not path.exists():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "up.log").read_text()
            time.sleep(0.2)
        try:
            yield json.loads(path.read_text())
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0, (folder / "up.log").read_text()
    assert not path.exists()


def read(platform: dict, topic: str, wanted: set[str], by: str, within_s: float = 60) -> dict[str, object]:
    """Read a topic from its start until every wanted header value was seen."""
    consumer = Consumer(
        {"bootstrap.servers": platform["kafka"], "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found, deadline = {}, time.monotonic() + within_s
    try:
        while not wanted <= found.keys() and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                headers = {name: value.decode(errors="replace") for name, value in message.headers() or []}
                found.setdefault(headers.get(by, ""), (message, headers))
    finally:
        consumer.close()
    assert wanted <= found.keys(), f"missing {sorted(wanted - found.keys())}"
    return found


def send(platform: dict, rows: list[tuple[bytes, list[tuple[str, bytes]]]]) -> None:
    producer = Producer({"bootstrap.servers": platform["kafka"]})
    for value, headers in rows:
        producer.produce(PIPELINE.topics.events, value, headers=headers)
    assert producer.flush(20) == 0


def test_json_and_avro_of_an_unknown_client_get_decisions_among_hostile_bytes(platform):
    records = load()
    ids = [f"unknown-{i}" for i in range(60)]
    rows = []
    for i, event_id in enumerate(ids):
        event = records.event(i, event_id=event_id)
        avro = i % 2
        rows.append((CODEC.encode(PIPELINE.event.name, event) if avro else json.dumps(event).encode(), []))
    for name, value in HOSTILE.items():
        rows.insert(3, (value, [("kind", name.encode())]))
    send(platform, rows)
    decisions = read(platform, PIPELINE.topics.decisions, set(ids), "event_id")
    letters = read(platform, PIPELINE.topics.dlq, set(HOSTILE), "kind")
    for message, _ in (decisions[each] for each in ids):
        decision = CODEC.decode("decision", message.value())
        assert decision["decision"] in {"employed", "not_employed"}
        assert decision["protected"].keys() == {"sex", "race"}
    for name, (message, why) in ((name, letters[name]) for name in HOSTILE):
        assert message.value() == HOSTILE[name] or (name == "empty" and not message.value())
        assert why["__dlq.errors.stage"] == "ingest"
        assert why["__dlq.errors.exception.class"], name
        assert why["__dlq.errors.message"], name


def test_the_same_event_sent_twice_is_decided_once_and_people_stay_unnamed(platform):
    event = load().event(100, event_id="twice-1")
    send(platform, [(json.dumps(event).encode(), [])] * 3)
    send(platform, [(json.dumps(load().event(101, event_id="after-twice")).encode(), [])])
    read(platform, PIPELINE.topics.decisions, {"twice-1", "after-twice"}, "event_id")
    assert count(platform, PIPELINE.topics.decisions, "twice-1") == 1
    message, _ = read(platform, PIPELINE.topics.accepted, {"twice-1"}, "event_id")["twice-1"]
    accepted = CODEC.decode("accepted", message.value())
    assert CODEC.decode(PIPELINE.event.name, accepted["event"])["person_id"] != event["person_id"]
    assert event["person_id"].encode() != message.key()


def count(platform: dict, topic: str, event_id: str) -> int:
    """Count an event's records on a topic, from its start to its end as it is now."""
    done = subprocess.run(
        [sys.executable, "-m", "guidevane.cli", "topics", "tail", topic, "--json", "--until-end",
         "--bootstrap", platform["kafka"]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return sum(row["headers"].get("event_id") == event_id for row in rows)


def test_the_http_door_answers_when_kafka_has_it_and_admin_finds_the_decision(platform):
    body = json.dumps([load().event(i, event_id=f"http-{i}") for i in range(200, 210)]).encode()
    url = f"{platform['ingest']}/v1/pipelines/employment/events"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202
        assert json.loads(answer.read())["event_ids"] == [f"http-{i}" for i in range(200, 210)]
    read(platform, PIPELINE.topics.decisions, {f"http-{i}" for i in range(200, 210)}, "event_id")
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(
                f"{platform['admin']}/v1/pipelines/employment/decisions/http-200", timeout=5
            ) as a:
                found = json.loads(a.read())
            break
        except urllib.error.HTTPError as missing:
            assert missing.code == 404 and time.monotonic() < deadline
            time.sleep(0.2)
    assert "http-200" in json.dumps(found)


def test_every_room_is_alive_ready_and_measured(platform):
    assert set(platform["metrics"]) > {"ingest", "preprocess", "inference", "postprocess", "monitors", "controller"}
    for room, url in platform["metrics"].items():
        process = "fused" if room in {"ingest", "preprocess", "inference", "postprocess"} else room
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        assert f'room="{process}"' in text
        for probe in ("livez", "readyz"):
            with urllib.request.urlopen(url.replace("metrics", probe), timeout=5) as answer:
                assert answer.status == 200
