"""Decisions: calibration rises, the fallback answers where there is no score, bytes do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.decision import Isotonic, Platt, Threshold, calibration
from guidevane.errors import Misconfigured
from guidevane.word import mistakes_of

CALIBRATIONS = [Isotonic(x=(0.1, 0.4, 0.9), y=(0.0, 0.5, 1.0)), Platt(a=1.3, b=-0.4)]
scores = st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=40)


@pytest.mark.parametrize("calibrate", [None, *CALIBRATIONS], ids=str)
@given(values=scores, cut=st.integers(0, 40))
def test_given_any_scores_when_the_batch_is_cut_then_every_probability_keeps_its_bytes(calibrate, values, cut):
    rule = Threshold(0.5, calibrate=calibrate)
    whole, _ = rule.decide(np.array(values))
    parts = [rule.decide(np.array(part, dtype=np.float64))[0] for part in (values[:cut], values[cut:])]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("calibrate", CALIBRATIONS, ids=str)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_given_a_higher_score_then_the_probability_is_no_lower(calibrate, a, b):
    low, high = calibrate(np.array(sorted((a, b))))
    assert 0 <= low <= high <= 1


@given(values=scores, at=st.floats(0, 1))
def test_given_any_scores_then_positive_and_label_say_the_same(values, at):
    rule = Threshold(at, positive="yes", negative="no", fallback="ask")
    probability, positive = rule.decide(np.array(values))
    labels = rule.labels(probability)
    assert [label == "yes" for label in labels] == positive.tolist()
    assert [label == "ask" for label in labels] == np.isnan(values).tolist()


@pytest.mark.parametrize(("fallback", "positive"), [(None, False), ("yes", True), ("no", False), ("ask", False)])
def test_given_no_score_then_the_fallback_decides(fallback, positive):
    rule = Threshold(positive="yes", negative="no", fallback=fallback)
    probability, answer = rule.decide(np.array([np.nan]))
    assert (answer.tolist(), rule.labels(probability)) == ([positive], [fallback or "no"])


def test_given_a_precision_then_last_bits_decide_nothing():
    rule = Threshold(0.3, precision=6)
    probability, positive = rule.decide(np.array([0.1 + 0.2, 0.3, 0.3 - 1e-12]))
    assert len(set(probability.tolist())) == 1
    assert positive.all()


@pytest.mark.parametrize("calibrate", CALIBRATIONS, ids=str)
def test_given_its_json_then_a_calibration_is_built_again(calibrate):
    names = {"isotonic": ("x", "y"), "platt": ("a", "b")}
    kind = type(calibrate).__name__.lower()
    assert calibration({"kind": kind} | {name: getattr(calibrate, name) for name in names[kind]}) == calibrate


def test_given_a_calibration_nobody_knows_then_the_nearest_is_told():
    with pytest.raises(Misconfigured, match="write 'isotonic'"):
        calibration({"kind": "isotonik"})


def test_given_points_that_do_not_rise_then_it_is_told():
    told = list(mistakes_of(Threshold(positive="a", negative="a", calibrate=Isotonic(x=(0.5, 0.5), y=(0.9, 0.1, 0.2)))))
    assert [mistake.path for mistake in told] == ["calibrate.y", "calibrate.x", "calibrate.y", "negative"]
