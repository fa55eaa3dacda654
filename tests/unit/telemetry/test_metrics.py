"""Given counting by declared name, when a room is asked, then it tells what happened and nothing twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.errors import Misconfigured
from guidevane.telemetry import names
from guidevane.telemetry.histogram import BUCKETS
from guidevane.telemetry.metrics import MAX_SERIES, Metrics, Series


def room() -> Metrics:
    return Metrics("employment", "inference", "0")


def test_given_increments_when_drained_twice_then_each_is_told_once_and_the_counter_stays_visible() -> None:
    metrics = room()
    metrics.begin(1_000_000)
    metrics.count(names.EVENTS_TOTAL, 3, stage="inference", result="out")
    metrics.count(names.EVENTS_TOTAL, 2, result="out", stage="inference")

    first, second = metrics.drain(2_500_000), metrics.drain(3_500_000)

    key = "guidevane_events_total|stage=inference|result=out"
    assert (first["counters"], first["interval_s"]) == ({key: 5.0}, 1.5)
    assert (second["counters"], second["interval_s"]) == ({key: 0.0}, 1.0)


def test_given_no_beginning_or_a_clock_set_back_when_drained_then_the_interval_is_unknown() -> None:
    metrics = room()

    assert metrics.drain(5_000_000)["interval_s"] == 0.0
    assert metrics.drain(4_000_000)["interval_s"] == 0.0


@given(st.lists(st.lists(st.floats(0.0, 100.0), max_size=30), max_size=10))
def test_given_batches_of_values_when_drained_in_between_then_the_parts_add_up(batches: list[list[float]]) -> None:
    metrics, count, total = room(), 0, 0.0
    for batch in batches:
        metrics.observe(names.AGE_SECONDS, np.array(batch), stage="ingest")
        for seen in metrics.drain(0)["histograms"].values():
            count, total = count + seen["count"], total + seen["sum"]

    assert count == sum(map(len, batches))
    assert total == pytest.approx(sum(map(sum, batches)))


def test_given_one_value_or_an_array_when_observed_then_they_are_counted_alike() -> None:
    one, many = room(), room()
    for value in (0.25, -1.0, 3.0):
        one.observe(names.COMMIT_DURATION_SECONDS, value)
    many.observe(names.COMMIT_DURATION_SECONDS, np.array([0.25, -1.0, 3.0]))

    assert one.drain(0)["histograms"] == many.drain(0)["histograms"]
    assert one.snapshot().histograms[Series(names.COMMIT_DURATION_SECONDS)].sum == 3.25


def test_given_an_unused_histogram_interval_when_drained_then_it_is_absent_and_the_gauge_is_not() -> None:
    metrics = room()
    metrics.observe(names.BATCH_SIZE, 8.0, stage="inference")
    metrics.gauge(names.IN_FLIGHT_RECORDS, 7)

    first, second = metrics.drain(1), metrics.drain(2)

    assert len(first["histograms"]["guidevane_batch_size|stage=inference"]["buckets"]) == BUCKETS
    assert second["histograms"] == {}
    assert second["gauges"] == {"guidevane_in_flight_records": 7.0}


@pytest.mark.parametrize(
    ("name", "labels", "says"),
    [
        ("guidevane_event_total", {}, "write 'guidevane_events_total'"),
        (names.EVENTS_TOTAL, {"stage": "ingest"}, "takes the labels"),
        (names.IN_FLIGHT_RECORDS, {}, "is a gauge"),
    ],
)
def test_given_a_name_or_label_that_is_not_declared_when_counted_then_it_raises_at_once(
    name: str, labels: dict[str, str], says: str
) -> None:
    with pytest.raises(Misconfigured, match=says):
        room().count(name, 1, **labels)


def test_given_label_values_without_end_when_counted_then_the_rest_is_other_and_nothing_is_lost() -> None:
    metrics = room()
    for number in range(MAX_SERIES + 50):
        metrics.count(names.DEAD_LETTERS_TOTAL, stage="ingest", cause=f"bad value {number}")

    counters = metrics.drain(0)["counters"]

    assert len(counters) == MAX_SERIES + 1
    assert counters["guidevane_dead_letters_total|stage=other|cause=other"] == 50.0


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.text(max_size=20))
def test_given_any_label_values_when_put_on_the_wire_then_the_series_can_be_read_back(stage: str, cause: str) -> None:
    metrics = room()
    metrics.count(names.DEAD_LETTERS_TOTAL, stage=stage, cause=cause)

    (key,) = metrics.drain(0)["counters"]

    name, labels = Series.of(key)
    assert name == names.DEAD_LETTERS_TOTAL
    assert dict(labels) == {"stage": stage.replace("|", "/"), "cause": cause.replace("|", "/")}
