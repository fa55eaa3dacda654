"""Given what rooms say of ages, when a controller follows it, then it knows the way as it mostly is."""

from __future__ import annotations

import pytest

from guidevane.control.observation import HOT, StageSeen
from guidevane.control.waiting import FETCH_WAIT
from guidevane.services.controller.learning import Profiler


def looks(ages: list[tuple[float, float]], *, records: int = 400, wait_s: float = 0.02) -> Profiler:
    """Return a profiler that was shown the median and the 99th percentile of one look a second."""
    profiler = Profiler()
    first = StageSeen(name=HOT[0], fetches=True, records=records, rate_per_s=100.0, running={FETCH_WAIT: wait_s})
    for second, (p50, p99) in enumerate(ages):
        last = StageSeen(name=HOT[-1], fetches=False, records=records, age_p50_s=p50, age_p99_s=p99)
        profiler.follow([first, last], [], {}, float(second))
    return profiler


def test_the_way_is_the_least_median_less_what_the_median_event_waits_in_a_fetch() -> None:
    assert looks([(0.05, 0.08), (0.035, 0.08)]).way_s == pytest.approx(0.035 - 0.015)


def test_the_usual_percentile_outlasts_a_start_and_follows_what_stays() -> None:
    calm = [(0.03, 0.08)] * 40

    assert looks([(0.5, 2.0)] * 10 + calm).usual_p99_s == 0.08
    assert looks(calm + [(0.03, 0.12)] * 40).usual_p99_s == 0.12


def test_a_percentile_of_a_few_events_says_nothing() -> None:
    assert looks([(0.03, 0.08)], records=3).usual_p99_s is None
