"""Features: each row for itself, to the byte; definitions that have an identity; mistakes that are told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.errors import Misconfigured
from guidevane.features import (
    Clip,
    Embed,
    FeatureSet,
    Fill,
    Log1p,
    Numeric,
    OneHot,
    Standardise,
    WindowMean,
    columns_of,
    numbers,
)
from guidevane.word import collecting, mistakes_of

FEATURES = FeatureSet(
    [
        Clip("age", low=0, high=90),
        Fill("income", 0.0),
        Log1p("income"),
        Standardise("age", mean=40, std=20),
        Numeric("income"),
        OneHot("colour", ("red", "blue")),
        Embed("code", (3, 1, 2)),
    ]
)

anything = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.text(max_size=3))
events = st.fixed_dictionaries(
    {},
    optional={
        "age": st.one_of(st.integers(0, 100), anything),
        "income": st.one_of(st.floats(0, 1e6), anything),
        "colour": st.one_of(st.sampled_from(["red", "blue"]), anything),
        "code": st.one_of(st.sampled_from([1, 2, 3, "1"]), anything),
    },
)


def vectors(rows: list[dict[str, object]]) -> list[bytes]:
    return [row.tobytes() for row in FEATURES.matrix(columns_of(rows, FEATURES.reads))]


@given(rows=st.lists(events, min_size=1, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_given_any_events_when_the_batch_is_cut_anyhow_then_every_vector_keeps_its_bytes(rows, cuts):
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    parts = [rows[start:end] for start, end in pairwise(edges)]
    assert [vector for part in parts for vector in vectors(part)] == vectors(rows)


@given(rows=st.lists(events, min_size=1, max_size=20))
def test_given_any_events_then_the_matrix_is_as_the_members_expect_it(rows):
    matrix = FEATURES.matrix(columns_of(rows, FEATURES.reads))
    assert (matrix.shape, matrix.dtype, matrix.flags.c_contiguous) == ((len(rows), 5), np.dtype(np.float32), True)
    reported = FEATURES.nonfinite(matrix)
    assert {row for row, _ in reported} == set(np.flatnonzero(~np.isfinite(matrix).all(axis=1)).tolist())


def test_given_no_events_then_the_matrix_is_empty():
    assert FEATURES.matrix(columns_of([], FEATURES.reads)).shape == (0, 5)


def test_given_one_bad_event_among_good_ones_then_it_alone_is_reported():
    rows = [{"age": 30, "income": 10.0}, {"age": "thirty", "income": 10.0}, {"age": 31, "income": -5.0}]
    matrix = FEATURES.matrix(columns_of(rows, FEATURES.reads))
    assert FEATURES.nonfinite(matrix) == [(1, "age.standardised"), (2, "income.number")]


def test_given_a_number_too_large_for_float32_then_it_is_reported_not_served():
    features = FeatureSet([Numeric("a"), Numeric("b")])
    matrix = features.matrix(columns_of([{"a": 1e300, "b": 0}], features.reads))
    assert features.nonfinite(matrix) == [(0, "a.number")]


def test_given_text_that_looks_like_a_number_then_it_stays_text_in_every_batch():
    alone = columns_of([{"code": "12"}], ["code"])["code"]
    among = columns_of([{"code": "12"}, {"code": 12}], ["code"])["code"]
    assert (alone[0], among[0], numbers(alone).tolist()) == ("12", "12", [pytest.approx(np.nan, nan_ok=True)])


def test_given_values_that_are_lists_then_they_are_unknown_and_nothing_breaks():
    columns = columns_of([{"code": [1, 2]}, {"code": [3, 4]}], ["code"])
    assert Embed("code", (1, 2))(columns)["code.index"].tolist() == [0.0, 0.0]


@given(value=st.one_of(st.none(), st.integers(-5, 5), st.sampled_from(["1", "a"])))
def test_given_mixed_categories_then_a_value_has_one_place_whatever_else_is_in_the_batch(value):
    encoder = Embed("code", (1, "1", "a", -3))
    alone = encoder(columns_of([{"code": value}], ["code"]))["code.index"]
    among = encoder(columns_of([{"code": value}, {"code": "zz"}], ["code"]))["code.index"]
    assert alone[0] == among[0]


def test_given_transforms_and_encoders_then_only_the_events_own_fields_are_read():
    assert FEATURES.reads == ("age", "income", "colour", "code")


def test_given_inputs_by_name_then_their_columns_come_in_the_order_named():
    assert FEATURES.places(("code.index", "colour.onehot")).tolist() == [4, 2, 3]
    assert FEATURES.places(None).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(Misconfigured, match=r"write 'colour\.onehot'"):
        FEATURES.places(("color.onehot",))


def test_given_the_same_definition_then_its_identity_is_known_for_ever():
    assert FEATURES.identity == "18f2d89889d6fe1d"


def test_given_another_process_with_another_hash_seed_then_the_identity_is_the_same():
    code = (
        "from guidevane.features import FeatureSet, OneHot, Standardise;"
        "print(FeatureSet([Standardise('age', 40, 20), OneHot('c', ('a', 'b'))]).identity)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == FeatureSet([Standardise("age", 40.0, 20.0), OneHot("c", ["a", "b"])]).identity


@pytest.mark.parametrize(
    "other",
    [
        [Standardise("age", mean=41, std=20), OneHot("c", ("a", "b"))],
        [Standardise("age", mean=40, std=20), OneHot("c", ("b", "a"))],
        [OneHot("c", ("a", "b")), Standardise("age", mean=40, std=20)],
        [Clip("age", 0, 9), Standardise("age", mean=40, std=20), OneHot("c", ("a", "b"))],
    ],
)
def test_given_another_definition_then_the_identity_is_another(other):
    ours = FeatureSet([Standardise("age", mean=40, std=20), OneHot("c", ("a", "b"))])
    assert FeatureSet(other).identity != ours.identity


@dataclass(frozen=True)
class Ratio:
    """An author's own encoder."""

    over: str
    under: str
    name: str = "ratio"
    width: int = 1
    columns: int = 1

    @property
    def reads(self):
        return (self.over, self.under)

    @property
    def writes(self):
        return (self.name,)

    def __call__(self, columns):
        return {**columns, self.name: np.stack([columns[self.over] / columns[self.under]] * self.columns, axis=1)}


def test_given_an_authors_own_feature_then_it_serves_like_ours():
    features = FeatureSet([Ratio("a", "b"), Numeric("a")])
    assert features.matrix(columns_of([{"a": 3, "b": 2}], features.reads)).tolist() == [[1.5, 3.0]]
    assert features.identity != FeatureSet([Ratio("b", "a"), Numeric("a")]).identity


def test_given_a_feature_that_breaks_its_promise_of_width_then_it_is_named():
    features = FeatureSet([Ratio("a", "b", columns=2)])
    with pytest.raises(Misconfigured, match=r"feature 'ratio' made \(1, 2\) of 1 events"):
        features.matrix(columns_of([{"a": 3, "b": 2}], features.reads))


def test_given_wrong_features_then_every_mistake_is_told_with_its_path():
    with collecting():
        features = FeatureSet(
            [
                Clip("age", low=9, high=1),
                Standardise("age", mean=0, std=0),
                OneHot("c", ()),
                Embed("c", (1, 2, 1)),
                Numeric("x"),
                Numeric("x"),
            ]
        )
    told = [str(mistake) for mistake in mistakes_of(features)]
    assert [each.split(":")[0] for each in told] == [
        "features[0].low",
        "features[1].std",
        "features[2].categories",
        "features[3].categories[2]",
        "features[5].name",
    ]


def test_given_a_window_that_nobody_reads_then_it_is_told():
    features = FeatureSet([WindowMean("a", 60.0, name="mean"), WindowMean("a", 30.0, name="short"), Numeric("short")])
    [told] = [str(mistake) for mistake in mistakes_of(features)]
    assert told.startswith("features[0]: nothing behind it reads 'mean' → add Numeric('mean')")


def test_given_something_that_is_no_feature_then_it_is_refused():
    with pytest.raises(Misconfigured, match=r"features\[0\]"):
        FeatureSet([lambda columns: columns])
