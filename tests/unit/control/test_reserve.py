"""Given a pipeline nobody has seen before, then what may come is reserved for, and less the longer it does not come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.control.headroom import Headroom
from guidevane.control.lulls import Lulls
from guidevane.control.outlook import FLUID
from guidevane.control.plant import Observation
from guidevane.control.reading import read_graph
from guidevane.control.reserve import Fear, again, reserve
from guidevane.control.steer import Steering

SECONDS = st.floats(0.0, 3600.0)


def reserved(passed_s: float, *, startup_s: float = 20.0, budget: float | None = None, rate_per_s: float = 50.0):
    fear = Fear()
    feared = fear.feared_per_s(50.0, rate_per_s, passed_s, startup_s)
    spare = 0.01 * 50.0 * passed_s if budget is None else budget
    return reserve(FLUID, feared, fear, passed_s=passed_s, startup_s=startup_s, budget=spare, epsilon=0.01)


def test_at_first_almost_all_that_is_feared_is_reserved_and_after_an_hour_no_more_than_comes():
    assert reserved(0.0) > 100
    assert reserved(3600.0) < 50


def test_a_little_more_than_what_comes_now_is_reserved_for_however_long_nothing_came():
    assert reserved(600.0, startup_s=35.0, rate_per_s=200.0) > 200


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


def ready_again(demands: list[float], bearable: float = 300.0) -> float:
    """What is reserved after traffic whose rate was known at once, and whose rises were seen to lead on."""
    known = Headroom()
    for before, each in pairwise([demands[0], *demands]):
        known = known.after(each, each, each + 25 * (each - before) if 0 < each - before < 2 else 0.0)
    return again(FLUID, known, Fear(), startup_s=20.0, hold_s=24.0, bearable=bearable)


CALM = [50.0] * 300


def test_a_jump_that_came_once_is_reserved_for_and_a_little_more():
    assert ready_again(CALM + [200.0] * 60 + CALM) > 150
    assert ready_again(CALM + [200.0] * 60, bearable=0.0) >= 1.3 * 200


def test_what_rose_slowly_is_answered_in_time_when_it_comes_again_and_needs_less_in_reserve():
    slow = [50.0 + each for each in range(150)]

    assert ready_again(CALM + slow + [200.0] * 60 + CALM) < 0.5 * ready_again(CALM + [200.0] * 210 + CALM)


def test_what_came_long_ago_is_forgotten():
    jump = CALM + [200.0] * 60

    assert ready_again(jump + CALM * 4) < ready_again(jump + CALM)


def test_what_the_budget_bears_is_not_reserved_for():
    jump = CALM + [200.0] * 60 + CALM

    assert ready_again(jump, bearable=1e5) == 0.0
    assert ready_again(CALM) == 0.0
    assert again(FLUID, Headroom(), Fear(), startup_s=20.0, hold_s=24.0, bearable=0.0) == 0.0


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


def on_and_off(*heights: float, on: int = 20, off: int = 100) -> list[float]:
    return [rate for height in heights for rate in [height] * on + [0.0] * off]


def feared(rates: list[float]) -> float:
    lulls = Lulls.of(rates, least_s=24)
    return Fear().feared_per_s(20.0, rates[-1], 3600.0, 20.0, lulls)


@given(st.lists(st.floats(10.0, 1000.0), min_size=1, max_size=20), st.integers(25, 200), st.integers(1, 20))
def test_given_traffic_that_is_on_and_off_then_each_lull_and_each_height_is_seen(heights, off, on):
    lulls = Lulls.of(on_and_off(*heights, on=on, off=off), least_s=24)
    # What is below a tenth of the highest so far is no burst, but part of a lull.
    expected = [each for at, each in enumerate(heights) if each >= 0.1 * max(heights[: at + 1])]
    assert (lulls.count, list(lulls.heights)) == (len(expected), expected)


def test_given_lulls_then_far_more_is_feared_than_came_and_less_the_more_bursts_were_alike():
    alike = [feared(on_and_off(*[100.0] * bursts)) for bursts in (1, 2, 4, 8)]
    assert alike[0] > 400
    assert alike == sorted(alike, reverse=True)
    assert alike[-1] < 130
    assert feared(on_and_off(100.0, 30.0, 60.0, 90.0)) > 1.5 * alike[2]


def test_given_a_lull_that_lasts_or_is_long_over_then_what_it_taught_is_forgotten():
    assert feared([*on_and_off(100.0, 100.0), *[0.0] * 3000]) < 110
    assert feared([*on_and_off(100.0, 100.0), *[100.0] * 3000]) < 140


@pytest.mark.parametrize("rates", [[50.0, 150.0] * 300, [150.0] * 300 + [0.0] * 100 + [150.0] * 100])
def test_given_no_lull_or_only_one_then_nothing_more_is_feared(rates):
    assert feared(rates) == Fear().feared_per_s(20.0, 150.0, 3600.0, 20.0)


def test_given_lulls_then_the_budget_is_that_of_the_few_events_that_come():
    lulls = Lulls.of(on_and_off(100.0, 100.0), least_s=24)

    def ready(lulls: Lulls) -> float:
        return reserve(FLUID, 400.0, Fear(), passed_s=1200.0, startup_s=20.0, budget=0.0, epsilon=0.01, lulls=lulls)

    assert ready(lulls) > ready(Lulls())
