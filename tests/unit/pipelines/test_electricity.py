"""The electricity pipeline: no mistakes, members that match it, and windows that see at serving what training saw."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path

import fastavro
import numpy as np
import pytest

import guidevane
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.pipelines.electricity import pipeline
from guidevane.pipelines.electricity.data import HALF_HOUR_US, held_out_from
from guidevane.pipelines.electricity.data import load as load_readings
from guidevane.registry import Registry, Tiled, load
from guidevane.testing import run_pipeline
from guidevane.word import mistakes_of

pytest.importorskip("faust", reason="the extra 'windows' brings Faust")

ROWS = 150
HERE = Path(guidevane.__file__).parent / "pipelines" / "electricity"
REGISTRY = Registry(pipeline.models)
MEMBERS = {member.name: member for member in pipeline.ensemble.members}
READINGS = load_readings()
EVENTS = [READINGS.event(index, event_id=f"e{index}", replay="1") for index in range(ROWS)]
MATRIX = pipeline.vector.matrix(pipeline.columns(EVENTS))


def scores_of(matrix: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            Tiled(load(REGISTRY.resolve(member.model), device="cpu"), member.tile).predict(
                np.ascontiguousarray(matrix[:, pipeline.vector.places(member.inputs)])
            )
            for member in MEMBERS.values()
        ]
    )


@pytest.fixture(scope="module")
def decided():
    return asyncio.run(run_pipeline(pipeline, EVENTS))


def test_given_the_pipeline_as_it_ships_then_it_has_no_mistake():
    assert [str(mistake) for mistake in mistakes_of(pipeline)] == []


@pytest.mark.parametrize("name", MEMBERS)
def test_given_a_committed_model_then_its_hash_holds_and_it_was_trained_on_what_the_pipeline_serves(name):
    found = REGISTRY.resolve(MEMBERS[name].model)
    assert found.manifest.feature_set == pipeline.vector.identity
    assert found.manifest.inputs == (MEMBERS[name].inputs or tuple(pipeline.vector.slices))
    assert all(found.read(file) for file in found.manifest.files)
    assert load(found, device="cpu").version == found.version


def test_given_what_training_found_then_the_pipeline_says_the_same():
    found = json.loads((HERE / "models" / "ensemble.json").read_text())
    assert (pipeline.ensemble.combine.weights, pipeline.ensemble.combine.bias) == (found["weights"], found["bias"])


def test_given_the_readings_then_each_is_an_event_of_the_contract_and_they_are_in_time_order():
    schema = fastavro.parse_schema(json.loads((HERE / "schema.avsc").read_text()))
    for index in range(0, len(READINGS), 997):
        event = READINGS.event(index, observed_at_us=1)
        wire = io.BytesIO()
        fastavro.schemaless_writer(wire, schema, event)
        wire.seek(0)
        assert fastavro.schemaless_reader(wire, schema, None) == event
    assert set(np.diff(READINGS.times_us).tolist()) == {HALF_HOUR_US}
    assert READINGS.first == held_out_from(replace(READINGS, up=np.zeros(45_311, dtype=bool)))


def test_given_another_replay_then_its_readings_are_of_another_market():
    assert READINGS.event(0, replay="1")["market"] != READINGS.event(0, replay="2")["market"]


def test_given_readings_through_the_rooms_then_each_vector_has_the_bytes_that_training_computes(decided):
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    decode = Codec(catalogue).decoder("features")
    vectors = {}
    for record in decided.log.records(pipeline.topics.features):
        body = decode(record.value, record.headers)
        vectors[body["event_id"]] = bytes(body["vector"])
    assert [vectors[event["event_id"]] for event in EVENTS] == [row.tobytes() for row in MATRIX]


def test_given_readings_through_the_rooms_then_the_ensemble_answers_each_as_its_members_do(decided):
    assert decided.dead_letters == []
    scores = scores_of(MATRIX)
    joined = pipeline.ensemble.join(scores, np.ones(scores.shape, dtype=bool))
    assert [decided.decisions[event["event_id"]]["score"] for event in EVENTS] == joined.tolist()
    assert {each["decision"] for each in decided.decisions.values()} == {"up", "down"}


def test_given_a_stretch_of_the_slice_then_the_ensemble_knows_more_than_the_share_of_dear_half_hours():
    part = READINGS.part(0, 1500)
    matrix = pipeline.vector.matrix(pipeline.columns([part.event(index) for index in range(len(part))]))
    scores = scores_of(matrix)
    joined = pipeline.ensemble.join(scores, np.ones(scores.shape, dtype=bool))
    share = part.up.mean()

    def loss(said):
        return -np.log(np.where(part.up, said, 1 - said)).mean()

    assert loss(joined) < 0.75 * loss(np.full(len(part), share))
