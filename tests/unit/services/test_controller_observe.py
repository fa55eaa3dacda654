"""Given what instances say, when it is looked at, then rates and percentiles are of all of them, and gaps stay gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.plant import Served
from guidevane.errors import Reject
from guidevane.services.controller.act import Standing
from guidevane.services.controller.learning import Profiler
from guidevane.services.controller.observe import Window
from guidevane.telemetry import names
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.service import served

SECOND_US = 1_000_000


class Instance:
    """One process of a room; it speaks when told to."""

    def __init__(self, window: Window, room: str, name: str, *, clock_off_s: float = 0.0) -> None:
        self.metrics = Metrics("p", room, name)
        self.metrics.begin(int(clock_off_s * SECOND_US))
        self.window = window
        self.off_us = int(clock_off_s * SECOND_US)

    def speaks(self, at_s: float) -> None:
        now_us = int(at_s * SECOND_US)
        self.window.follow(self.metrics.drain(now_us + self.off_us), now_us)


def look(window: Window, at_s: float, **control):
    return window.observe(int(at_s * SECOND_US), control=control, replicas={"deep": Standing(2, ("a", "b"))})


def test_given_two_instances_with_clocks_an_hour_apart_then_their_rates_add_up() -> None:
    window = Window("p", {"deep": ("deep",)})
    both = [Instance(window, "ingest", "a"), Instance(window, "ingest", "b", clock_off_s=3_600.0)]
    for second in range(1, 4):
        for each in both:
            each.metrics.count(names.EVENTS_TOTAL, 40, stage="ingest", result="out")
            each.metrics.count(names.EVENTS_TOTAL, 10, stage="ingest", result="reject")
            each.speaks(second)

    assert look(window, 3).stage("ingest").rate_per_s == pytest.approx(100.0)


def test_given_a_quick_and_a_slow_instance_then_the_percentile_is_of_all_events_together() -> None:
    window = Window("p", {"deep": ("deep",)})
    quick, slow = Instance(window, "postprocess", "a"), Instance(window, "postprocess", "b")
    quick.metrics.observe(names.AGE_SECONDS, np.full(990, 0.01), stage="postprocess")
    slow.metrics.observe(names.AGE_SECONDS, np.full(10, 1.0), stage="postprocess")
    for each in (quick, slow):
        each.speaks(1)

    stage = look(window, 1).stage("postprocess")

    assert stage.records == 1_000
    assert stage.age_p50_s < 0.02
    assert stage.age_p99_s < 0.02


def test_given_an_instance_that_is_gone_then_it_counts_no_more_and_the_stage_is_missing() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "inference", "a")
    room.metrics.count(names.EVENTS_TOTAL, 5, stage="inference", result="out")
    room.speaks(1)

    assert look(window, 2).stage("inference").rate_per_s == 5.0
    assert "inference" in look(window, 6.5).missing
    assert look(window, 6.5).stage("inference") is None


def test_given_a_room_before_its_first_event_then_it_is_there_and_its_rate_is_not_known() -> None:
    window = Window("p", {"deep": ("deep",)})
    Instance(window, "ingest", "a").speaks(1)

    seen = look(window, 1)

    assert (seen.stage("ingest").rate_per_s, seen.stage("ingest").age_p99_s) == (None, None)
    assert seen.members[0].served == ()
    assert seen.missing == ("preprocess", "inference", "postprocess")


def test_given_an_event_without_an_interval_then_it_has_no_rate() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Metrics("p", "ingest", "a")
    room.count(names.EVENTS_TOTAL, 1_000, stage="ingest", result="out")
    window.follow(room.drain(SECOND_US), SECOND_US)

    assert look(window, 1).stage("ingest").rate_per_s is None


def test_given_numbers_that_are_none_then_what_they_spoil_is_not_known() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "inference", "a")
    room.metrics.count(names.SERVED_BATCHES_TOTAL, 3, station="deep", size="8")
    room.metrics.count(names.SERVED_SECONDS_TOTAL, float("nan"), station="deep", size="8")
    room.metrics.gauge(names.CONSUMER_LAG_RECORDS, float("inf"), topic="p.features")
    room.speaks(1)

    seen = look(window, 1)

    assert seen.members[0].served == ()
    assert seen.stage("inference").lag_records is None


def test_given_a_room_of_a_version_with_other_buckets_then_it_is_refused_and_told() -> None:
    window = Window("p", {"deep": ("deep",)})
    said = Metrics("p", "ingest", "a").drain(SECOND_US)
    said["histograms"][names.AGE_SECONDS] = {"count": 1, "sum": 1.0, "buckets": [1]}

    with pytest.raises(Reject, match="ingest/a"):
        window.follow(said, SECOND_US)


def test_given_another_pipelines_rooms_then_they_are_none_of_ours() -> None:
    window = Window("p", {"deep": ("deep",)})
    window.follow(Metrics("q", "ingest", "a").drain(SECOND_US), SECOND_US)

    assert len(look(window, 1).missing) == 4


def test_given_what_rooms_started_with_then_it_is_in_force_until_the_control_topic_says_otherwise() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "inference", "a")
    room.metrics.gauge(names.FETCH_WAIT_SECONDS, 0.01)
    room.metrics.gauge(names.MAX_BATCH, 128)
    room.speaks(1)
    told = {"settings": {"max_batch": 64.0}, "actor": "ada"}

    assert look(window, 1).stage("inference").settings == {"fetch_wait_s": 0.01, "max_batch": 128.0}
    assert look(window, 1, inference=told).stage("inference").settings == {"fetch_wait_s": 0.01, "max_batch": 64.0}
    assert look(window, 1, inference=told).stage("inference").settings_by == "ada"


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_given_any_counts_then_the_rate_is_that_of_the_window(counts) -> None:
    window = Window("p", {})
    room = Instance(window, "ingest", "a")
    for second, count in enumerate(counts, 1):
        room.metrics.count(names.EVENTS_TOTAL, count, stage="ingest", result="out")
        room.speaks(second)

    lately = counts[-11:]
    assert look(window, len(counts)).stage("ingest").rate_per_s == pytest.approx(sum(lately) / len(lately))


def test_given_batches_that_were_served_then_each_observation_has_those_since_the_one_before() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "inference", "a")
    for records in (7, 8, 60):
        served(room.metrics, "deep", records, records / 1000)
    room.speaks(1)

    first, second = look(window, 1).members[0], look(window, 2).members[0]

    assert first.served == (Served(8, pytest.approx(0.0075), 2), Served(60, pytest.approx(0.06), 1))
    assert second.served == ()


def test_given_events_by_event_time_then_each_half_second_is_told_once_it_is_complete() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "ingest", "a")
    look(window, 10.0)
    room.metrics.arrive("ingest", np.array([10.1e6, 10.2e6, 10.7e6]), 11_000_000)
    room.speaks(11)

    assert look(window, 11.0).counts == (0, 0)
    assert look(window, 12.0).counts == (2, 1)
    assert look(window, 13.0).counts == (0, 0)


def test_given_a_heap_then_it_is_told_by_tenth_and_what_is_told_late_is_no_heap() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "ingest", "a")
    look(window, 10.0)
    room.metrics.arrive("ingest", np.array([10.12e6] * 30 + [10.75e6, 4.0e6]), 11_000_000)
    room.speaks(11)
    assert look(window, 11.0).tenths == (0,) * 10

    told = look(window, 12.0).tenths + look(window, 13.0).tenths
    room.metrics.arrive("ingest", np.array([10.5e6] * 90), 13_500_000)
    room.speaks(14)

    assert [told[11], told[17], sum(told), len(told)] == [30, 1, 31, 20]
    assert look(window, 14.0).tenths == (0,) * 10


def test_given_a_backlog_that_grows_then_what_nobody_answered_yet_counts_as_come() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "ingest", "a")
    for second in range(10, 13):
        room.metrics.count(names.EVENTS_TOTAL, 40, stage="ingest", result="out")
        room.metrics.gauge(names.CONSUMER_LAG_RECORDS, 0 if second < 12 else 500, topic="p.events")
        room.speaks(second)
        counts = look(window, second).counts

    assert sum(counts) == 500


def test_given_decisions_late_shed_and_dead_then_each_is_missed_once() -> None:
    window = Window("p", {"deep": ("deep",)})
    room = Instance(window, "postprocess", "a")
    for outcome, n in (("full", 90), ("shed", 4)):
        room.metrics.count(names.DECISIONS_TOTAL, n, outcome=outcome)
    room.metrics.count(names.LATE_TOTAL, 5)
    room.metrics.count(names.DEAD_LETTERS_TOTAL, 2, stage="ingest", cause="truncated")
    room.speaks(1)

    seen = look(window, 1)

    assert (seen.ended, seen.missed, seen.shed) == (96, 11, 4)


def test_given_replicas_that_start_then_a_launch_is_known_to_take_as_long_as_it_took() -> None:
    window = Window("p", {"deep": ("deep",)})
    at = {5: Standing(1, (), {"a": 2.0}), 14: Standing(1, ("a",))}
    seen = {
        second: window.observe(second * SECOND_US, control={}, replicas={"deep": standing}).members[0]
        for second, standing in at.items()
    }

    assert (seen[5].ready, seen[5].starting, seen[5].startup_s) == (0, (2.0,), None)
    assert (seen[14].ready, seen[14].starting, seen[14].startup_s) == (1, (), 12.0)


class Suspicious:
    """A detector that cries once the mean of what it hears lately is clearly another."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def update(self, value: float) -> object | None:
        self.heard.append(value)
        if len(self.heard) > 20 and np.mean(self.heard[-5:]) > np.mean(self.heard[:10]) + 0.1:
            self.heard = []
            return object()
        return None


def test_given_a_model_that_gets_slower_then_it_is_told_from_traffic_that_grows() -> None:
    def lines_after(seconds: list[tuple[int, float]]):
        window = Window("p", {"deep": ("deep",)}, Profiler(Suspicious))
        room = Instance(window, "inference", "a")
        for second, (records, slower) in enumerate(seconds, 1):
            for _ in range(10):
                served(room.metrics, "deep", records, slower * (0.01 + 0.001 * records))
            room.speaks(second)
            (line,) = look(window, second).lines
        return line

    calm = [(records, 1.0) for records in (2, 10, 4) * 120]
    grown = lines_after(calm + [(80, 1.0)] * 40)
    slower = lines_after(calm + [(records, 2.0) for records in (2, 10, 4) * 20])

    assert (grown.changes, slower.changes) == (0, 1)
    assert grown.latency_s(10) == pytest.approx(0.02, rel=0.15)
    assert slower.latency_s(10) == pytest.approx(0.04, rel=0.15)
