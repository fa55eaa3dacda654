"""Given events with any times in them, when a stage has answered them, then telemetry counts each once, by when."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.pipelines import employment
from guidevane.pipelines.employment.data import load
from guidevane.telemetry import names
from guidevane.telemetry.arrivals import SLOT_US, SLOTS, TENTH_US, TENTHS, Arrivals
from guidevane.telemetry.metrics import Metrics, Series
from guidevane.telemetry.service import served, size_class
from guidevane.testing import ManualClock, run_pipeline

NOW_US = 1_700_000_000_250_000
TIMES = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40)


@given(st.lists(TIMES, max_size=8))
def test_given_any_event_times_when_drained_then_every_event_is_counted_once_in_the_last_minute(
    batches: list[list[int]],
) -> None:
    arrivals = Arrivals()
    for batch in batches:
        arrivals.add("ingest", np.array(batch, np.float64), NOW_US)

    drained = arrivals.drain()

    assert sum(each["events"] for each in drained) == sum(map(len, batches))
    assert len(drained) <= SLOTS
    assert all(NOW_US - SLOTS * SLOT_US <= each["from_us"] <= NOW_US for each in drained)
    assert arrivals.drain() == []


@given(st.lists(st.integers(0, SLOTS * SLOT_US - SLOT_US), min_size=1, max_size=60), st.integers(1, 60))
def test_given_the_same_events_when_cut_into_batches_anyhow_then_the_counts_are_those_of_their_times(
    ages_us: list[int], cut: int
) -> None:
    newest_us = NOW_US // SLOT_US * SLOT_US
    times = np.array(ages_us[::-1], np.float64) * -1 + newest_us
    whole, parts = Arrivals(), Arrivals()
    whole.add("ingest", times, NOW_US)
    for start in range(0, len(times), cut):
        parts.add("ingest", times[start : start + cut], NOW_US)

    counted = {each["from_us"]: each["events"] for each in whole.drain()}

    assert counted == {each["from_us"]: each["events"] for each in parts.drain()}
    assert counted == {
        int(slot * SLOT_US): int(n) for slot, n in zip(*np.unique(times // SLOT_US, return_counts=True), strict=True)
    }


@given(st.lists(TIMES, max_size=8), st.lists(st.integers(0, 2 * TENTHS * TENTH_US), max_size=40))
def test_given_any_event_times_then_those_of_the_last_seconds_and_no_others_are_told_by_tenth(
    batches: list[list[int]], ages_us: list[int]
) -> None:
    arrivals = Arrivals()
    for batch in [*batches, [NOW_US - age for age in ages_us] or [0]]:
        arrivals.add("ingest", np.array(batch, np.float64), NOW_US)
    oldest_us = (NOW_US // TENTH_US - TENTHS + 1) * TENTH_US
    recent = [NOW_US - age for age in ages_us if NOW_US - age >= oldest_us]
    recent += [each for batch in batches for each in batch if oldest_us <= each <= NOW_US]

    told = {each["from_us"]: each["events"] for each in arrivals.drain_tenths()}

    assert told == Counter(each // TENTH_US * TENTH_US for each in recent)
    assert arrivals.drain_tenths() == []


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0.001, 2.0)), min_size=1, max_size=50))
def test_given_batches_of_any_size_when_served_then_each_class_gives_the_mean_point_of_its_profile(
    batches: list[tuple[int, float]],
) -> None:
    metrics = Metrics("employment", "inference", "0")
    for records, seconds in batches:
        served(metrics, "deep", records, seconds)

    counters = metrics.drain(0)["counters"]

    for size in {size_class(records) for records, _ in batches}:
        of_class = [(records, seconds) for records, seconds in batches if size_class(records) == size]
        labels = (("station", "deep"), ("size", size))
        assert counters[Series(names.SERVED_BATCHES_TOTAL, labels).key] == len(of_class)
        assert counters[Series(names.SERVED_RECORDS_TOTAL, labels).key] == sum(records for records, _ in of_class)
        seconds = counters[Series(names.SERVED_SECONDS_TOTAL, labels).key]
        assert seconds == pytest.approx(sum(seconds for _, seconds in of_class))
        assert all(int(size) // 2 < records <= int(size) for records, _ in of_class)


def test_given_telemetry_of_the_version_before_when_read_then_it_has_no_arrivals() -> None:
    codec = Codec(Catalogue())
    said = Metrics("employment", "ingest", "0").drain(1)
    before = {name: value for name, value in said.items() if name != "arrivals"}

    assert codec.decode("telemetry", codec.encoder("telemetry", version=1)(before)) == {**before, "arrivals": []}


async def test_given_events_through_the_hot_path_when_drained_then_the_stations_tell_a_profile_and_the_hops() -> None:
    metrics = Metrics("employment", "fused", "0")
    clock = ManualClock()
    records = load()
    start_us = clock.now_us()
    events = [records.event(n, event_id=f"e{n}", observed_at_us=start_us - n * 100_000) for n in range(10)]

    await run_pipeline(employment.pipeline, [*events, b"no event"], clock=clock, metrics=metrics)
    said = metrics.drain(start_us)

    assert {(each["stage"], each["from_us"]): each["events"] for each in said["arrivals"]} == {
        ("ingest", start_us): 1, ("ingest", start_us - SLOT_US): 5, ("ingest", start_us - 2 * SLOT_US): 4,
    }  # fmt: skip
    stations = {"ingest", "preprocess", "inference", "postprocess", *employment.pipeline.ensemble.names}
    served_at = {dict(Series.of(key).labels)["station"] for key in said["counters"] if "served_records" in key}
    hops = {dict(Series.of(key).labels)["station"] for key in said["histograms"] if "hop_duration" in key}
    assert served_at == stations
    assert hops == stations
    assert all(said["gauges"][Series(names.MEMBER_IN_FLIGHT_ROWS, (("member", name),)).key] == 0
               for name in employment.pipeline.ensemble.names)  # fmt: skip
