"""Given measured service times, when a profile is asked, then it answers as promised; live batches correct it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.profile import Correction, Profile


def test_latency_is_linear_between_points_and_goes_on_beyond_them():
    profile = Profile.read({"4": 24.0, "8": 44.0})

    assert profile.latency_s(6) == pytest.approx(0.034)
    assert profile.latency_s(10) == pytest.approx(0.054)
    # Below: along the line (5 ms an item), but not below 6 ms an item.
    assert profile.latency_s(1) == pytest.approx(0.009)
    assert profile.most == 8


def test_one_point_promises_no_gain_from_batches():
    assert Profile.read({"4": 24.0}).latency_s(1) == pytest.approx(0.006)
    assert Profile.read({"1": 5.0}).latency_s(3) == pytest.approx(0.015)


def test_jitter_is_half_normal_above_the_profile():
    profile = Profile.read({"1": 100.0})

    assert profile.quantile_s(1, 0.0) == pytest.approx(0.1)
    assert profile.quantile_s(1, 0.5) == pytest.approx(0.1 * (1 + 0.03 * 0.6745), rel=1e-4)
    assert profile.mean_s(1) == pytest.approx(0.1 * (1 + 0.03 * math.sqrt(2 / math.pi)))


@given(st.floats(0.3, 4.0))
def test_live_batches_move_the_profile_to_what_they_measured(slower):
    profile = Profile.read({"1": 10.0, "8": 40.0, "32": 130.0})
    belief = Correction().learn(profile, [(1, profile.mean_s(1), 500)])
    for _ in range(60):
        belief = belief.learn(profile, [(1, profile.mean_s(1) * slower, 20), (32, profile.mean_s(32) * slower, 20)])

    corrected = belief.corrected(profile)

    assert corrected.mean_s(1) == pytest.approx(profile.mean_s(1) * slower, rel=0.1)
    assert corrected.mean_s(32) == pytest.approx(profile.mean_s(32) * slower, rel=0.1)


def test_without_live_batches_a_profile_stands():
    profile = Profile.read({"1": 10.0})

    assert Correction().corrected(profile) is profile
    assert Correction().learn(profile, [(1, 0.0, 5), (1, 0.1, 0)]).weight == 0
