"""What one event breaks, on the real Ray: a model raises, says NaN, hangs or ends; a feature ends the room itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

PIPELINE = """
import os
import threading
from dataclasses import dataclass

import numpy as np

from guidevane import Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold

READING = {
    "type": "record", "name": "plant.reading",
    "fields": [{"name": "sensor", "type": "string"}, {"name": "value", "type": "double"}],
}


@dataclass(frozen=True)
class Sharp:
    reads = ("value",)
    writes = ("value",)

    def __call__(self, columns):
        if (columns["value"] == -6).any():
            os._exit(9)
        return columns


class Fragile:
    version = "1"

    def predict(self, matrix):
        value = matrix[:, 0]
        if (value == -1).any():
            raise ZeroDivisionError("cannot stand -1")
        if (value == -3).any():
            return np.full(3, 0.5)
        if (value == -4).any():
            threading.Event().wait(3600)
        if (value == -5).any():
            os._exit(9)
        return np.where(value == -2, np.nan, 0.25)


class Sturdy:
    version = "1"

    def predict(self, matrix):
        return np.full(len(matrix), 0.75)


pipeline = Pipeline(
    name="plant",
    event=Event("plant.reading.v1", schema=READING, key="sensor"),
    features=[Sharp(), Numeric("value")],
    ensemble=Ensemble([
        Member("fragile", "plant:Fragile", num_cpus=0.1, stuck_after_s=1.0),
        Member("sturdy", "plant:Sturdy", num_cpus=0.1, stuck_after_s=1.0),
    ]),
    decision=Threshold(0.5, positive="stop", negative="go"),
    slo=Latency(within_ms=1000),
    partitions=2,
)
"""
KINDS = {-1: "model_failed", -2: "model_failed", -3: "model_failed", -4: "model_hung", -5: "model_died"}


def test_given_events_that_break_a_model_then_they_are_dead_letters_and_all_others_are_decided(tmp_path: Path):
    (tmp_path / "plant.py").write_text(PIPELINE)
    state = tmp_path / "state"
    with (tmp_path / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "guidevane.cli", "up", "plant", "--state-dir", str(state)],
            stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 200
        while not (state / "endpoints.json").exists():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "up.log").read_text()
            time.sleep(0.2)
        kafka = json.loads((state / "endpoints.json").read_text())["kafka"]
        check_the_doctor_finds_all_well(tmp_path, state)
        sent = {f"e{i}": float(i) for i in range(500)} | {f"poison{-kind}": float(kind) for kind in KINDS}
        producer = Producer({"bootstrap.servers": kafka})
        ids = list(sent)
        # Poison travels among its innocents: one in a hundred.
        order = sorted(ids, key=lambda each: int(each.removeprefix("poison")) * 80 if "p" in each else int(each[1:]))
        for event_id in order:
            body = json.dumps({"sensor": f"s{len(event_id)}", "value": sent[event_id]}).encode()
            producer.produce("plant.events", body, key=event_id, headers=[("event_id", event_id.encode())])
        assert producer.flush(20) == 0
        found = read(kafka, ["plant.decisions", "plant.dlq"], len(sent))
        logs = (state / "logs" / "fused.log").read_text()
        assert found["plant.decisions"].keys() == {each for each in sent if "p" not in each}, logs
        letters = found["plant.dlq"]
        assert letters.keys() == {each for each in sent if "p" in each}, logs
        for kind, cause in KINDS.items():
            why = letters[f"poison{-kind}"]
            assert why["__dlq.errors.stage"] == "inference"
            assert why["__dlq.errors.exception.class"] == cause, why
            assert "fragile" in why["__dlq.errors.message"]
        assert logs.count("an event is set aside") == 2
        # Once the member is back, decisions are full again. Who ends the room itself costs two of its lives.
        for name, value in (("after", 1), ("killer", -6), ("between", 1), ("other killer", -6), ("last", 1)):
            body = json.dumps({"sensor": "s", "value": value}).encode()
            producer.produce("plant.events", body, key=name, headers=[("event_id", name.encode())])
        assert producer.flush(20) == 0
        found = read(kafka, ["plant.decisions", "plant.dlq"], len(sent) + 5)
        logs = (state / "logs" / "fused.log").read_text()
        for name in ("killer", "other killer"):
            why = found["plant.dlq"][name]
            assert (why["__dlq.errors.stage"], why["__dlq.errors.exception.class"]) == ("preprocess", "feature_died"), (
                logs
            )
        assert found["plant.decisions"].keys() >= {"after", "between", "last"}, logs
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def check_the_doctor_finds_all_well(folder: Path, state: Path) -> None:
    """Ask the doctor about a platform that was just started."""
    done = subprocess.run(
        [sys.executable, "-m", "guidevane.cli", "doctor", "plant", "--json", "--state-dir", str(state)],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    found = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    for name in ("ports", "pipeline", "schemas", "broker", "topics", "clock", "ray", "members", "rooms"):
        assert found[name]["status"] == "ok", found[name]


def read(kafka: str, topics: list[str], count: int, within_s: float = 90) -> dict[str, dict[str, dict[str, str]]]:
    """Return the headers on each topic by event id, once there are ``count`` in all."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe(topics)
    found: dict[str, dict[str, dict[str, str]]] = {topic: {} for topic in topics}
    deadline = time.monotonic() + within_s
    try:
        while sum(map(len, found.values())) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                headers = {name: value.decode(errors="replace") for name, value in message.headers() or []}
                assert headers["event_id"] not in found[message.topic()], "an event has one outcome"
                found[message.topic()][headers["event_id"]] = headers
    finally:
        consumer.close()
    return found
