"""Windows: what an event sees depends on the events of its key alone, in their order, to the byte."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane import (
    Clip,
    Event,
    FeatureSet,
    Fill,
    Misconfigured,
    Numeric,
    Pipeline,
    Standardise,
    WindowCount,
    WindowDistinct,
    WindowMean,
)
from guidevane.features import KEY, TIME, columns_of
from guidevane.features.windows import Window

MINUTE_US = 60_000_000
HOUR = 3600.0

sizes = st.sampled_from([(60.0, None), (300.0, 60.0), (120.0, 60.0), (600.0, 300.0)])
lates = st.sampled_from([0.0, 45.0, 300.0])
numbers = st.one_of(
    st.none(), st.floats(), st.integers(-(2**60), 2**60), st.sampled_from([0.1, 0.2, 1e308, -1e308, 5e-324, -0.0])
)
events = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-20, 20), st.integers(0, MINUTE_US - 1), numbers), max_size=60
)


def column(values: list[object]) -> np.ndarray:
    return np.fromiter(values, dtype=object, count=len(values))


def columns(rows: list[tuple[str, int, int, object]]) -> dict[str, np.ndarray]:
    return {
        KEY: column([key for key, *_ in rows]),
        TIME: np.array([minute * MINUTE_US + us for _, minute, us, _ in rows], dtype=np.float64),
        "value": column([value for *_, value in rows]),
    }


def visible(window: Window, rows: list[tuple[str, int, int, object]], at: int) -> list[object]:
    """Return the values that event ``at`` sees: by the rule as it is written, looking at every pair of events."""
    step_us = int((window.step_s or window.size_s) * 1e6)
    panes = [(minute * MINUTE_US + us) // step_us for _, minute, us, _ in rows]
    count, late = int(window.size_s * 1e6) // step_us, math.ceil(window.late_s * 1e6 / step_us)
    same = [i for i in range(at + 1) if rows[i][0] == rows[at][0]]
    before = [panes[i] for i in same if i < at]
    found = []
    for i in same:
        gone = i != at and before and panes[i] < max(before) - (count - 1) - late
        if panes[at] - count < panes[i] <= panes[at] and not gone:
            found.append(rows[i][3])
    return found


def finite(values: list[object]) -> list[float]:
    return [float(v) for v in values if v is not None and math.isfinite(v)]


@given(events, sizes, lates)
def test_every_window_says_what_its_rule_says_of_all_pairs_of_events(rows, size, late):
    count, mean, distinct = (
        WindowCount(*size, late, name="count"),
        WindowMean("value", *size, late, name="mean"),
        WindowDistinct("value", *size, late, at_most=3, name="distinct"),
    )
    found = distinct(mean(count(columns(rows))))
    for at in range(len(rows)):
        seen = visible(count, rows, at)
        held = finite(seen)
        exact = float(sum(map(Fraction, held), Fraction(0)) / len(held)) if held else math.nan
        assert found["count"][at] == len(seen)
        assert np.float64(found["mean"][at]).tobytes() == np.float64(exact).tobytes() or (
            math.isnan(exact) and not held
        )
        different = {float(v) + 0.0 for v in seen if v is not None and not math.isnan(v)}
        assert found["distinct"][at] == min(3, len(different))


@given(events, sizes, lates)
def test_a_held_state_survives_being_written_down(rows, size, late):
    for window in (WindowCount(*size, late), WindowMean("value", *size, late), WindowDistinct("value", *size, late)):
        held = again = None
        for _, minute, us, value in rows:
            held, saw = window.see(held, minute * MINUTE_US + us, value)
            again, same = window.see(again, minute * MINUTE_US + us, value)
            assert np.float64(saw).tobytes() == np.float64(same).tobytes()
            panes = {number: window.load(window.dump(pane)) for number, pane in again.panes.items()}
            again = again._replace(panes=panes)
            assert len(panes) <= window.kept


@given(st.integers(0, 2**31 - 1), sizes)  # further on, its compiled windows overflow
def test_our_windows_are_fausts(time_s, size):
    faust = pytest.importorskip("faust", reason="the extra 'windows' brings Faust")
    step = size[1] or size[0]
    start, end = faust.HoppingWindow(size[0], step).earliest(float(time_s))
    ours = WindowCount(*size)
    pane = int(time_s * 1e6) // ours.step_us
    assert (pane - ours.count + 1) * step == start
    assert (pane + 1) * step == pytest.approx(end, abs=0.2)


def test_the_order_of_the_events_shows_in_no_sum():
    values = [1e16, 1.0, -1e16, 0.1, 0.2, 0.3]
    means = set()
    for turn in range(len(values)):
        rows = [("a", 0, 0, v) for v in values[turn:] + values[:turn]]
        means.add(WindowMean("value", 60.0, name="mean")(columns(rows))["mean"][-1])
    assert means == {float(sum(map(Fraction, values)) / len(values))}


def test_an_event_that_is_later_than_what_is_kept_sees_what_is_left_and_changes_nothing():
    window = WindowCount(120.0, 60.0, name="count")
    on_time = [("a", 0, 0, 1), ("a", 9, 0, 1), ("a", 10, 0, 1)]
    late = [("a", 0, 0, 1), ("a", 9, 0, 1), ("a", 0, 1, 1), ("a", 10, 0, 1)]
    assert window(columns(on_time))["count"].tolist() == [1, 1, 2]
    assert window(columns(late))["count"].tolist() == [1, 1, 1, 2]


def test_text_and_numbers_are_told_apart_and_long_text_by_its_hash():
    rows = [("a", 0, i, v) for i, v in enumerate(["12", 12, 12.0, True, 1, "x" * 40, "x" * 41, "x" * 40, b"12", None])]
    assert WindowDistinct("value", 60.0, name="d")(columns(rows))["d"].tolist() == [1, 2, 2, 3, 3, 4, 5, 5, 6, 6]


def test_training_without_keys_is_told_so():
    features = FeatureSet([WindowCount(60.0, name="visits"), Numeric("visits")])
    with pytest.raises(Misconfigured, match=r"event\.key.*pipeline\.columns"):
        features.matrix(columns_of([{"a": 1}], features.reads))


SCHEMA = {
    "type": "record",
    "name": "reading",
    "namespace": "net",
    "fields": [
        {"name": "host", "type": "string"},
        {"name": "at", "type": "long"},
        {"name": "ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "value", "type": ["null", "double"]},
    ],
}


def pipeline(*features: object, **event: object) -> Pipeline:
    from guidevane import Ensemble, Member
    from guidevane.word import collecting

    told = {"schema": SCHEMA, "time": "at"} | event
    with collecting():
        return Pipeline(
            name="net",
            event=Event("net.reading.v1", key="host", **told),
            features=[*features],
            ensemble=Ensemble(members=[Member("m", model="math:sqrt")]),
        )


MEAN = WindowMean("value", 60.0, name="mean")


@pytest.mark.parametrize(
    ("features", "event", "says"),
    [
        ([WindowMean("valu", 60.0, name="m"), Numeric("m")], {}, r"features\[0\]\.field: there is no field 'valu'"),
        ([MEAN, Numeric("mean")], {"time": None}, r"features\[0\]\.at: windows go by event time"),
        ([WindowCount(60.0, at="ms", name="n"), Numeric("n")], {}, r"features\[0\]\.at: .*microseconds"),
        ([WindowCount(60.0, at="value", name="n"), Numeric("n")], {}, r"features\[0\]\.at: .*microseconds"),
        ([Clip("value", 0, 1), MEAN, Numeric("mean")], {}, r"features\[1\]: windows read events as they came"),
        ([MEAN, MEAN, Numeric("mean")], {}, r"features\[1\]\.name: 'mean' is there already"),
        ([WindowDistinct("value", 1000.0, 1.0, name="n"), Numeric("n")], {}, r"features: .*lower at_most"),
        ([MEAN, Numeric("mean")], {"protected": ("value",)}, r"features\[0\]\.field: 'value' is declared protected"),
    ],
)
def test_mistakes_in_windows_are_told_with_their_place(features, event, says):
    import re

    from guidevane.word import mistakes_of

    told = "\n".join(map(str, mistakes_of(pipeline(*features, **event))))
    assert re.search(says, told), told


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: WindowCount(60.0, 7.0), "step_s.*whole steps"),
        (lambda: WindowCount(10_000.0, 1.0), "10000 panes"),
        (lambda: WindowCount(0), "size_s"),
        (lambda: WindowMean("", 60.0), "field"),
        (lambda: WindowDistinct("x", 60.0, at_most=0), "at_most"),
    ],
)
def test_a_window_that_cannot_be_is_refused(build, says):
    import re

    from guidevane.word import mistakes_of

    try:
        told = "\n".join(map(str, mistakes_of(build())))
    except Misconfigured as wrong:
        told = str(wrong)
    assert re.search(says, told), told


def test_a_pipeline_gives_training_the_columns_that_serving_sees():
    made = pipeline(MEAN, Fill("mean", 0.0), Numeric("mean"))
    rows = [{"host": "a", "at": 5, "ms": 0, "value": v} for v in (None, 1.0, 2.0)]
    assert made.vector.matrix(made.columns(rows)).tolist() == [[0.0], [1.0], [1.5]]


def test_a_field_of_32_bits_is_to_training_what_it_is_on_the_topics():
    narrow = [*SCHEMA["fields"][:-1], {"name": "value", "type": ["null", "float"]}]
    made = pipeline(MEAN, Numeric("mean"), Standardise("value", 0.1, 1e-6), schema={**SCHEMA, "fields": narrow})
    rows = [{"host": "a", "at": 5, "ms": 0, "value": v} for v in (0.1, 0.7, 0.2)]
    as_sent = [{**row, "value": float(np.float32(row["value"]))} for row in rows]
    assert made.vector.matrix(made.columns(rows)).tobytes() == made.vector.matrix(made.columns(as_sent)).tobytes()
    assert np.isnan(made.columns([{**rows[0], "value": None}])["value"][0])


def test_a_field_that_training_data_lacks_has_the_contracts_default_as_in_serving():
    fields = [*SCHEMA["fields"][:-1], {"name": "value", "type": "double", "default": 2.0}]
    made = pipeline(MEAN, Numeric("mean"), Numeric("value"), schema={**SCHEMA, "fields": fields})
    rows = [{"host": "a", "at": 5, "ms": 0, "value": 4.0}, {"host": "a", "at": 6, "ms": 0}]
    assert made.vector.matrix(made.columns(rows)).tolist() == [[4.0, 4.0], [3.0, 2.0]]


def test_only_windows_make_a_topic_and_other_windows_make_another_one():
    plain = pipeline(Numeric("value"))
    minute, hour = pipeline(MEAN, Numeric("mean")), pipeline(WindowMean("value", HOUR, name="mean"), Numeric("mean"))
    assert plain.windows_topic is None
    assert not [spec for spec in plain.specs() if "windows" in spec.name]
    assert [spec.settings["cleanup.policy"] for spec in minute.specs() if "windows" in spec.name] == ["compact"]
    assert minute.windows_topic != hour.windows_topic
