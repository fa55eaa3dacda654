"""The ensemble: absent members leave the rest whole, scores do not depend on the batch, mistakes are told."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.combiners import Stacking, Vote, WeightedMean
from guidevane.ensemble import Ensemble, Factory, Member, Stored, reference
from guidevane.errors import Misconfigured
from guidevane.word import collecting, mistakes_of

MEMBERS = 9
COMBINERS = [
    WeightedMean(),
    WeightedMean(tuple(range(1, MEMBERS + 1))),
    WeightedMean(logit=True),
    Vote(0.4),
    Stacking((0.7, -0.2, 0.4, 0.1, 0.3, 0.2, 0.9, -0.4, 0.5), bias=-0.1),
]


def members(count: int) -> list[Member]:
    return [Member(f"m{index}", f"models:/m{index}@champion") for index in range(count)]


@pytest.mark.parametrize("combine", COMBINERS, ids=lambda each: type(each).__name__)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, 69), max_size=6))
def test_given_any_scores_when_the_batch_is_cut_anyhow_then_every_score_keeps_its_bytes(combine, seed, cuts):
    random = np.random.default_rng(seed)
    scores, present = random.random((MEMBERS, 70)), random.random((MEMBERS, 70)) < 0.6
    ensemble = Ensemble(members(MEMBERS), combine=combine, quorum=2)
    edges = sorted({0, 70, *cuts})
    parts = [ensemble.join(scores[:, start:end], present[:, start:end]) for start, end in pairwise(edges)]
    assert np.concatenate(parts).tobytes() == ensemble.join(scores, present).tobytes()


@pytest.mark.parametrize("combine", COMBINERS[:4], ids=lambda each: type(each).__name__)
@given(seed=st.integers(0, 2**32 - 1))
def test_given_any_absences_then_means_stay_between_the_scores_that_are_there(combine, seed):
    random = np.random.default_rng(seed)
    scores, present = random.random((MEMBERS, 20)), random.random((MEMBERS, 20)) < 0.5
    joined = Ensemble(members(MEMBERS), combine=combine).join(scores, present)
    assert np.isnan(joined[~present.any(axis=0)]).all()
    voices = (scores >= 0.4).astype(float) if isinstance(combine, Vote) else scores
    low = np.where(present, voices, np.inf).min(axis=0) - 1e-12
    high = np.where(present, voices, -np.inf).max(axis=0) + 1e-12
    some = present.any(axis=0)
    assert ((low <= joined) & (joined <= high))[some].all()


@pytest.mark.parametrize("combine", COMBINERS, ids=lambda each: type(each).__name__)
def test_given_an_absent_member_then_what_stands_in_its_place_is_not_looked_at(combine):
    present = np.ones((MEMBERS, 3), dtype=bool)
    present[4] = False
    scores = np.random.default_rng(1).random((MEMBERS, 3))
    others = scores.copy()
    others[4] = [np.nan, np.inf, -7]
    assert combine(scores, present).tobytes() == combine(others, present).tobytes()


def test_given_stacked_members_that_agree_then_an_absence_changes_nothing():
    combine = Stacking((0.5, 0.3, 0.4), bias=0.2)
    scores = np.full((3, 2), 0.8)
    both = combine(scores, np.array([[True, True], [True, False], [True, False]]))
    assert both[0] == pytest.approx(both[1])


def test_given_fewer_than_the_quorum_then_there_is_no_score():
    ensemble = Ensemble(members(3), quorum=2)
    present = np.array([[True, True], [True, False], [False, False]])
    joined = ensemble.join(np.full((3, 2), 0.5), present)
    assert joined[0] == 0.5
    assert np.isnan(joined[1])


def test_given_a_member_that_says_nan_then_it_counts_as_absent():
    ensemble = Ensemble(members(2), quorum=2)
    assert np.isnan(ensemble.join(np.array([[0.5], [np.nan]]), np.ones((2, 1), dtype=bool)))


def test_given_weights_by_name_then_they_find_their_members():
    named = Ensemble(members(2), combine=WeightedMean({"m1": 1.0, "m0": 3.0}))
    scores, present = np.array([[1.0], [0.0]]), np.ones((2, 1), dtype=bool)
    assert named.join(scores, present).tolist() == [0.75]


def test_given_certain_scores_then_logits_stay_finite():
    scores = np.array([[0.0, 1.0], [0.3, 0.3]])
    assert np.isfinite(WeightedMean(logit=True)(scores, np.ones((2, 2), dtype=bool))).all()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("models:/a-b.c@champion", Stored("a-b.c", alias="champion")),
        ("models:/a/7", Stored("a", version="7")),
        ("mine.models:make", Factory("mine.models", "make")),
    ],
)
def test_given_a_reference_then_it_is_read(text, meant):
    assert reference(text) == meant


@pytest.mark.parametrize(
    "text", ["", "a", "models:/a", "models:a@b", "models:/a/b/c", "models:/../a@b", "a:b:c", "a:b()"]
)
def test_given_no_reference_then_the_forms_are_told(text):
    with pytest.raises(Misconfigured, match="models:/NAME@ALIAS"):
        reference(text)


def test_given_a_wrong_ensemble_then_every_mistake_is_told_with_its_path():
    with collecting():
        ensemble = Ensemble(
            [
                Member("wide", "models:/wide", tile=0),
                Member("deep", "models:/deep@champion", device="cuda", inputs=()),
                Member("deep", "nothing"),
            ],
            combine=WeightedMean({"wide": 1.0, "dep": 1.0}),
            quorum=4,
        )
    told = [str(mistake) for mistake in mistakes_of(ensemble)]
    assert [each.split(": ")[0] for each in told] == [
        "members[0].tile",
        "members[0].model",
        "members[1].inputs",
        "members[1].num_gpus",
        "members[2].model",
        "members[2].name",
        "quorum",
        "combine.weights",
        "combine.weights",
    ]
    assert "write 'deep'" in told[-2]


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0)])
def test_given_weights_for_other_members_then_it_is_told(weights):
    told = list(mistakes_of(Ensemble(members(3), combine=Stacking(weights))))
    assert [mistake.path for mistake in told] == ["combine.weights"]


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("inf"), 1.0)])
def test_given_weights_that_make_no_mean_then_it_is_told(weights):
    assert [mistake.path for mistake in mistakes_of(WeightedMean(weights))] == ["weights"]


def test_given_an_input_that_no_encoder_makes_then_the_nearest_is_told():
    told = list(Member("a", "models:/a@b", inputs=("age.standardized",)).mistakes_against(["age.standardised"]))
    assert str(told[0]) == "inputs[0]: there is no encoder 'age.standardized' → write 'age.standardised'"


def test_given_members_beside_others_then_replicas_that_are_nobodys_are_told():
    with collecting():
        ensemble = Ensemble(
            [
                Member("a", "models:/a@b"),
                Member("b", "models:/b@b", beside="a"),
                Member("c", "models:/c@b", beside="b"),
                Member("d", "models:/d@b", beside="x"),
                Member("e", "models:/e@b", beside="a", num_gpus=0.5),
            ]
        )
        told = [str(mistake) for mistake in mistakes_of(ensemble)]
    assert told == [
        "members[4].num_gpus: is reserved by 'a', in whose replicas it runs → write it there",
        "members[2].beside: 'b' is itself beside another → one of: a",
        "members[3].beside: 'x' is no member → one of: a",
    ]
    assert ensemble.deployments == {"a": ("a", "b", "e")}
