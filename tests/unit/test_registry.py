"""The registry: what was published is what is loaded, to the byte; nothing that can run code is opened."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model
from safetensors.numpy import save

from guidevane.errors import Misconfigured
from guidevane.registry import Manifest, Registry, Tiled, load
from guidevane.registry.manifest import digest

LINEAR = b'{"weights": [0.5, -1.0], "intercept": 0.25}'


def manifest(files, name="toy", version="1", framework="river", **about):
    hashes = {file: digest(content) for file, content in files.items()}
    return Manifest(
        name=name, version=version, framework=framework, files=hashes, inputs=("a", "b"), feature_set="0" * 16, **about
    )


@pytest.fixture
def registry(tmp_path):
    registry = Registry(tmp_path)
    for version in ("1", "2"):
        registry.publish(manifest({"model.json": LINEAR}, version=version), {"model.json": LINEAR})
    registry.point("toy", "champion", "1")
    return registry


def test_given_an_alias_when_it_is_pointed_elsewhere_then_it_resolves_elsewhere(registry):
    assert registry.resolve("models:/toy@champion").version == "1"
    registry.point("toy", "champion", "2")
    assert registry.resolve("models:/toy@champion").version == "2"
    assert registry.resolve("models:/toy/1").version == "1"


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        ("models:/tay@champion", "no model 'tay' .* write 'toy'"),
        ("models:/toy@champ", "no alias 'champ' → write 'champion'"),
        ("models:/toy/3", "no version '3' → one of: 1, 2"),
        ("mine:make", "is a factory"),
        ("models:/..@x", "is no name of a model"),
    ],
)
def test_given_a_model_that_is_not_there_then_the_nearest_is_told(registry, model, advice):
    with pytest.raises(Misconfigured, match=advice):
        registry.resolve(model)


@given(data=st.data())
def test_given_one_byte_changed_then_the_model_is_not_opened(tmp_path_factory, data):
    registry = Registry(tmp_path_factory.mktemp("models"))
    found = registry.publish(manifest({"model.json": LINEAR}), {"model.json": LINEAR})
    place = data.draw(st.integers(0, len(LINEAR) - 1))
    changed = bytearray(LINEAR)
    changed[place] ^= data.draw(st.integers(1, 255))
    (found.path / "model.json").write_bytes(changed)
    with pytest.raises(Misconfigured, match="has SHA-256"):
        load(registry.resolve("models:/toy/1"))


def test_given_a_version_then_its_bytes_never_change(registry):
    registry.publish(manifest({"model.json": LINEAR}), {"model.json": LINEAR})
    other = LINEAR.replace(b"0.5", b"0.6")
    with pytest.raises(Misconfigured, match="exists with other bytes"):
        registry.publish(manifest({"model.json": other}), {"model.json": other})
    with pytest.raises(Misconfigured, match="not those of the manifest"):
        registry.publish(manifest({"model.json": LINEAR}, version="9"), {"model.json": other})


class Bomb:
    """Whoever unpickles this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("file", ["model.pkl", "model.pt", "model.joblib", "../model.json", "a/model.json", ".json"])
def test_given_a_manifest_that_lists_what_can_run_or_climb_then_it_is_refused(registry, file):
    path = registry.root / "toy" / "1" / "manifest.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"files": {file: "0" * 64}}))
    with pytest.raises(Misconfigured, match=r"manifest.json: files"):
        registry.resolve("models:/toy@champion")


@pytest.mark.parametrize(("framework", "file"), [("torch", "m.safetensors"), ("xgboost", "m.ubj"), ("river", "m.json")])
def test_given_a_pickle_under_an_honest_name_then_nothing_in_it_runs(tmp_path, framework, file):
    content = pickle.dumps(Bomb(tmp_path / "boom"))
    about = {"framework": framework, "factory": "torch.nn:Linear", "kwargs": {"in_features": 2, "out_features": 1}}
    found = Registry(tmp_path).publish(manifest({file: content}, **about), {file: content})
    with pytest.raises(Misconfigured):
        load(found)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("factory", ["os:system", "subprocess:run", "torch:load", "nowhere:Net", None, "no factory"])
def test_given_a_manifest_that_names_no_network_then_nothing_is_called(tmp_path, factory):
    content = save({"weight": np.zeros((1, 2), dtype=np.float32)})
    about = {"framework": "torch", "factory": factory, "kwargs": {"command": f"touch {tmp_path}/boom"}}
    found = Registry(tmp_path).publish(manifest({"m.safetensors": content}, **about), {"m.safetensors": content})
    with pytest.raises(Misconfigured):
        load(found)
    assert not (tmp_path / "boom").exists()


def test_given_weights_of_another_network_then_it_is_told(tmp_path):
    content = save({"other": np.zeros((1, 2), dtype=np.float32)})
    about = {"framework": "torch", "factory": "torch.nn:Linear", "kwargs": {"in_features": 2, "out_features": 1}}
    found = Registry(tmp_path).publish(manifest({"m.safetensors": content}, **about), {"m.safetensors": content})
    with pytest.raises(Misconfigured, match=r"do not fit torch\.nn:Linear"):
        load(found, device="cpu")


def test_given_a_manifest_of_another_model_then_it_is_refused(registry):
    path = registry.root / "toy" / "1" / "manifest.json"
    path.write_text(path.read_text().replace('"toy"', '"boy"'))
    with pytest.raises(Misconfigured, match="holds the manifest of boy/1"):
        registry.resolve("models:/toy@champion")


def test_given_rivers_logistic_regression_then_its_weights_say_what_river_says(tmp_path):
    random = np.random.default_rng(3)
    rows = random.normal(size=(200, 2)).astype(np.float32)
    model = linear_model.LogisticRegression()
    for row in rows:
        model.learn_one(dict(enumerate(map(float, row))), bool(row[0] > row[1]))
    content = json.dumps({"weights": [model.weights[0], model.weights[1]], "intercept": model.intercept}).encode()
    predictor = load(Registry(tmp_path).publish(manifest({"m.json": content}), {"m.json": content}))
    said = [model.predict_proba_one(dict(enumerate(map(float, row))))[True] for row in rows]
    assert np.allclose(predictor.predict(rows), said, rtol=0, atol=1e-12)
    assert predictor.predict(rows)[7:8].tobytes() == predictor.predict(rows[7:8]).tobytes()
    with pytest.raises(Misconfigured, match="2 weights, the vectors 3 numbers"):
        predictor.predict(np.zeros((1, 3), dtype=np.float32))


@pytest.mark.parametrize("file", ["m.ubj", "m.json"])
def test_given_boosted_trees_then_they_say_what_they_said_when_trained(tmp_path, file):
    rows = np.random.default_rng(4).normal(size=(300, 2)).astype(np.float32)
    data = xgboost.DMatrix(rows, rows[:, 0] > rows[:, 1])
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, num_boost_round=5)
    content = bytes(booster.save_raw(file.split(".")[1]))
    predictor = load(
        Registry(tmp_path).publish(manifest({file: content}, framework="xgboost"), {file: content}), device="auto"
    )
    assert predictor.predict(rows).tolist() == booster.predict(data).tolist()
    assert (predictor.device, predictor.version) == ("cpu", "1")


class Counting:
    """A predictor that says what shapes it was given."""

    version = "1"
    device = "cpu"

    def __init__(self):
        self.shapes = []

    def predict(self, matrix):
        self.shapes.append(matrix.shape)
        return matrix[:, 0].astype(np.float64)


@given(rows=st.integers(0, 200), tile=st.integers(1, 70))
def test_given_any_batch_then_a_tiled_model_sees_one_shape_only(rows, tile):
    inner = Counting()
    matrix = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    assert Tiled(inner, tile).predict(matrix).tolist() == matrix[:, 0].tolist()
    assert inner.shapes == [(tile, 2)] * -(-rows // tile)
