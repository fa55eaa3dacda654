"""The employment pipeline: no mistakes, members that match it, scores that do not depend on batch or process."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import guidevane
from guidevane.features import columns_of
from guidevane.pipelines.employment import pipeline
from guidevane.pipelines.employment.data import load as load_records
from guidevane.registry import Registry, Tiled, load
from guidevane.word import mistakes_of

ROWS = 700
REGISTRY = Registry(pipeline.models)
MEMBERS = {member.name: member for member in pipeline.ensemble.members}
HERE = Path(guidevane.__file__).parent / "pipelines" / "employment"


def matrix_of(count: int) -> np.ndarray:
    records = load_records()
    rows = [records.event(index) for index in range(count)]
    return pipeline.vector.matrix(columns_of(rows, pipeline.vector.reads))


MATRIX = matrix_of(ROWS)


def predictor(name: str) -> Tiled:
    member = MEMBERS[name]
    return Tiled(load(REGISTRY.resolve(member.model), device="cpu"), member.tile)


@pytest.fixture(scope="module", params=MEMBERS)
def asked(request):
    return request.param, predictor(request.param), MATRIX[:, pipeline.vector.places(MEMBERS[request.param].inputs)]


def test_given_the_pipeline_as_it_ships_then_it_has_no_mistake():
    assert [str(mistake) for mistake in mistakes_of(pipeline)] == []


def test_given_protected_attributes_then_no_feature_reads_them():
    assert not {"sex", "race", "person_id"} & set(pipeline.vector.reads)


def test_given_the_records_then_each_is_an_event_of_the_contract():
    schema = fastavro.parse_schema(json.loads((HERE / "schema.avsc").read_text()))
    records = load_records()
    for index in range(0, len(records), 997):
        event = records.event(index, observed_at_us=1)
        wire = io.BytesIO()
        fastavro.schemaless_writer(wire, schema, event)
        wire.seek(0)
        assert fastavro.schemaless_reader(wire, schema, None) == event


def test_given_the_records_then_they_are_in_time_order_and_nobody_is_there_twice():
    records = load_records()
    assert (np.diff(records.columns["year"]) >= 0).all()
    assert len(set(records.ids.tolist())) == len(records)


@pytest.mark.parametrize("name", MEMBERS)
def test_given_a_committed_model_then_it_was_trained_on_what_the_pipeline_serves(name):
    manifest = REGISTRY.resolve(MEMBERS[name].model).manifest
    assert manifest.feature_set == pipeline.vector.identity
    assert manifest.inputs == MEMBERS[name].inputs


def test_given_what_training_found_then_the_pipeline_says_the_same():
    found = json.loads((HERE / "models" / "ensemble.json").read_text())
    assert (pipeline.ensemble.combine.weights, pipeline.ensemble.combine.bias) == (found["weights"], found["bias"])


@given(cuts=st.lists(st.integers(1, ROWS - 1), max_size=8))
def test_given_a_member_when_the_batch_is_cut_anyhow_then_every_score_keeps_its_bytes(asked, cuts):
    _, member, matrix = asked
    parts = [member.predict(matrix[start:end]) for start, end in pairwise(sorted({0, ROWS, *cuts}))]
    assert np.concatenate(parts).tobytes() == member.predict(matrix).tobytes()


def test_given_a_member_when_each_event_comes_alone_or_in_another_place_then_its_score_keeps_its_bytes(asked):
    _, member, matrix = asked
    whole = member.predict(matrix)
    order = np.random.default_rng(5).permutation(ROWS)
    assert member.predict(matrix[order]).tobytes() == whole[order].tobytes()
    assert (
        b"".join(member.predict(matrix[index : index + 1]).tobytes() for index in range(100)) == whole[:100].tobytes()
    )


ANOTHER = """
import hashlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_employment as t
for name in t.MEMBERS:
    matrix = t.MATRIX[:, t.pipeline.vector.places(t.MEMBERS[name].inputs)]
    member = t.predictor(name)
    scores = [member.predict(part) for part in np.array_split(matrix, 23)]
    print(name, hashlib.sha256(np.concatenate(scores).tobytes()).hexdigest())
"""


def test_given_another_process_with_other_batches_then_scores_keep_their_bytes():
    ours = "".join(
        f"{name} "
        + hashlib.sha256(
            predictor(name).predict(MATRIX[:, pipeline.vector.places(MEMBERS[name].inputs)]).tobytes()
        ).hexdigest()
        + "\n"
        for name in MEMBERS
    )
    command = [sys.executable, "-c", ANOTHER, str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ours


def test_given_the_slice_then_the_ensemble_beats_its_best_member():
    records = load_records()
    matrix = matrix_of(len(records))
    truth = records.employed
    scores = np.stack(
        [predictor(name).predict(matrix[:, pipeline.vector.places(MEMBERS[name].inputs)]) for name in MEMBERS]
    )
    joined = pipeline.ensemble.join(scores, np.ones(scores.shape, dtype=bool))
    loss = [-np.log(np.where(truth, each, 1 - each)).mean() for each in (*scores, joined)]
    assert loss[-1] < min(loss[:-1])


def test_given_what_ships_then_it_is_small():
    assert sum(path.stat().st_size for path in (HERE / "models").rglob("*") if path.is_file()) < 3e6
    assert sum(path.stat().st_size for path in (HERE / "data").rglob("*") if path.is_file()) < 2e6


def test_given_one_seed_then_training_twice_gives_the_same_bytes():
    import torch

    from guidevane.pipelines.employment import train
    from guidevane.pipelines.employment.data import Records

    torch.set_num_threads(1)
    records = load_records()
    years = {**records.columns, "year": np.full(len(records), 2015)}
    fit, stop, _ = train.split(Records(years, records.ids, records.employed).take(np.arange(1000)))
    assert [len(part.truth) for part in (fit, stop)] == [800, 100]

    def once(name: str) -> bytes:
        torch.manual_seed(1)
        network, kwargs = train.shapes()[name]
        return train.fit_network(name, network(**kwargs), fit, stop, lambda: None)

    assert once("wide") == once("wide")
    assert train.fit_trees("trees", fit, stop) == train.fit_trees("trees", fit, stop)
