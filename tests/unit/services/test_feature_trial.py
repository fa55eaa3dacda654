"""Features that end or hang the process that computes them, each on one event: tried in a process of their own."""

from __future__ import annotations

import pickle
import signal
import struct
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.loading import load_pipeline
from guidevane.log import Record
from guidevane.services.preprocess.seen import Seen
from guidevane.services.preprocess.service import Preprocess
from guidevane.services.preprocess.trial import FeatureTrial

PIPELINE = """
import os
import sys
import threading
from dataclasses import dataclass

from guidevane import Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold, WindowCount

READING = {
    "type": "record", "name": "pond.reading",
    "fields": [
        {"name": "sensor", "type": "string"}, {"name": "value", "type": "double"}, {"name": "at_us", "type": "long"},
    ],
}


class Sturdy:
    version = "1"

    def predict(self, matrix):
        return matrix[:, 0]


@dataclass(frozen=True)
class Fragile:
    reads = ("value",)
    writes = ("value",)

    def __call__(self, columns):
        print("an author may print")
        value = columns["value"]
        if (value == 1).any():
            os._exit(9)
        if (value == 2).any():
            threading.Event().wait(3600)
        if (value == 3).any():
            raise ZeroDivisionError
        if (value == 4).any():
            sys.exit("no")
        # Two of these stand alone, and not together.
        if (value == 5).sum() > 1:
            os._exit(9)
        return columns


def made(name, *features):
    return Pipeline(
        name=name,
        event=Event("pond.reading.v1", schema=READING, key="sensor", time="at_us"),
        features=[*features, Fragile(), Numeric("value"), *(Numeric(each.name) for each in features)],
        ensemble=Ensemble([Member("sturdy", "pond:Sturdy")]),
        decision=Threshold(0.5),
        slo=Latency(within_ms=1000),
    )


pond = made("pond")
lake = made("lake", WindowCount(size_s=60, name="seen"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pond")
    (made / "pond.py").write_text(PIPELINE)
    return made


@pytest.fixture
def trial(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    def made(name: str, stuck_s: float = 5.0) -> FeatureTrial:
        pipeline = load_pipeline(f"pond:{name}")
        catalogue = Catalogue()
        catalogue.learn(pipeline.event)
        return FeatureTrial(f"pond:{name}", Preprocess(pipeline, Codec(catalogue)).row, stuck_s=stuck_s)

    return made


def record(value: float, windows: dict[str, float] | None = None, *, seen: bool = False) -> Record:
    fields = {"sensor": "s", "value": value, "at_us": 1_700_000_000_000_000}
    accepted = {"event_id": "e", "event_time_us": 0, "deadline_us": 0, "protected": {}, "fields": fields, "event": b""}
    body = Seen(accepted, fields, windows) if seen else accepted
    return Record("pond.accepted", 0, 0, b"s", orjson.dumps(value), (), 0, body)


async def test_those_that_end_or_hang_it_are_told_apart_from_all_others(trial):
    tried = trial("pond", stuck_s=1.0)
    found = await tried.culprits([record(value) for value in (0, 1, 0, 3, 2, 4, 0, 1)])
    assert {place: why.cause for place, why in found.items()} == {
        1: "feature_died", 4: "feature_hung", 5: "feature_died", 7: "feature_died",
    }  # fmt: skip
    assert str(found[1]) == "its features alone end their process (status 9)"
    assert str(found[4]) == "its features alone had not been computed after 1 s"


async def test_innocents_are_tried_at_once_in_one_process_that_is_kept(trial):
    tried = trial("pond")
    assert await tried.culprits([record(0)] * 300) == {}
    process = tried._process
    assert await tried.culprits([record(0), record(3)]) == {}
    assert tried._process is process


async def test_who_dies_only_in_company_is_not_blamed_alone(trial):
    assert await trial("pond").culprits([record(5), record(5)]) == {}


async def test_windows_are_seen_as_the_room_saw_them_and_what_it_does_not_compute_is_not_tried(trial):
    tried = trial("lake")
    records = [record(0, {"seen": 1.0}, seen=True), record(1, None, seen=True), record(1, {"seen": 2.0}, seen=True)]
    assert {place: why.cause for place, why in (await tried.culprits(records)).items()} == {2: "feature_died"}


async def test_nobody_is_blamed_where_no_process_can_be_started(trial, caplog):
    tried = trial("pond")
    tried._reference = "nowhere:pond"
    assert await tried.culprits([record(1)]) == {}
    assert "nobody can tell" in caplog.text


def test_the_process_ends_by_itself_when_the_room_is_gone_and_a_batch_hangs(folder):
    asked = pickle.dumps([[({"sensor": "s", "value": 2.0}, None)]])
    with subprocess.Popen(
        [sys.executable, "-m", "guidevane.services.preprocess.trial", "pond:pond", "0.5"],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.read(1) == b"."
        process.stdin.write(struct.pack(">I", len(asked)) + asked)
        process.stdin.flush()
        assert process.wait(timeout=20) == -signal.SIGALRM
