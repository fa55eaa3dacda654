"""Given a pipeline nobody has seen before, then what may come is reserved for, and less the longer it does not come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.control.outlook import FLUID
from guidevane.control.plant import Observation
from guidevane.control.reading import read_graph
from guidevane.control.reserve import Fear, reserve
from guidevane.control.steer import Steering

SECONDS = st.floats(0.0, 3600.0)


def reserved(passed_s: float, *, startup_s: float = 20.0, budget: float | None = None, highest_per_s: float = 50.0):
    fear = Fear()
    feared = fear.feared_per_s(50.0, highest_per_s, passed_s, startup_s)
    spare = 0.01 * 50.0 * passed_s if budget is None else budget
    return reserve(FLUID, feared, fear, passed_s=passed_s, startup_s=startup_s, budget=spare, epsilon=0.01)


def test_at_first_almost_all_that_is_feared_is_reserved_and_after_an_hour_no_more_than_comes():
    assert reserved(0.0) > 100
    assert reserved(3600.0) < 50


def test_what_was_on_once_is_reserved_for_when_it_is_off_and_a_little_more():
    assert reserved(600.0, startup_s=35.0, highest_per_s=200.0) > 200


def test_a_stage_that_starts_at_once_needs_less():
    assert reserved(60.0, startup_s=2.0) < reserved(60.0, startup_s=35.0)


@given(SECONDS, st.floats(1.0, 600.0), st.floats(2.0, 60.0))
@settings(max_examples=50, deadline=None)
def test_the_longer_nothing_comes_the_less_is_reserved(passed_s, more_s, startup_s):
    assert reserved(passed_s + more_s, startup_s=startup_s) <= reserved(passed_s, startup_s=startup_s) + 1e-9


@given(SECONDS, st.floats(-100.0, 500.0), st.floats(0.0, 500.0))
@settings(max_examples=50, deadline=None)
def test_a_larger_budget_never_reserves_more(passed_s, budget, more):
    assert reserved(passed_s, budget=budget + more) <= reserved(passed_s, budget=budget) + 1e-9


def test_what_is_feared_is_that_multiple_of_the_opening_rate_and_no_more():
    assert reserved(0.0, budget=-1e6) == pytest.approx(Fear().surprise * 50.0)


def test_the_first_plan_has_more_in_reserve_where_a_launch_takes_long():
    stage = {"latency_ms": {"1": 20, "4": 50}, "price_usd_per_hour": 1.0}
    graph = read_graph(
        {
            "stages": {"slow": {**stage, "startup_s": 30}, "quick": {**stage, "startup_s": 1}},
            "edges": [["slow", "quick"]],
        }
    )
    action, _ = Steering(graph, 0.3)(
        Observation(time_s=0.0, interval_s=0.0, counts=(), stages=(), expected_per_s=60.0), None
    )

    assert action.settings["slow"].replicas > action.settings["quick"].replicas
