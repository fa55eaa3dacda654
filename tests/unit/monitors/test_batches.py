"""However a stream is cut into batches, every monitor says and remembers what it does event by event."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import EVENT, PIPELINE, Named, decision
from tests.unit.monitors.test_monitors import EVERYTHING, scalars, stream

from guidevane.monitors.concept import ConceptDrift
from guidevane.monitors.drift import Drift
from guidevane.monitors.fairness import DemographicParity
from guidevane.monitors.monitor import Batch, Columnar, Monitor, Seen, watch
from guidevane.monitors.panel import Panel
from guidevane.monitors.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.events import Alert

# Sensitive ones, so that limits are crossed often; and calm ones, whose quick ways are taken.
DECLARED = (
    *EVERYTHING,
    Quality(name="strict", window=7, max_missing_share=0.3, max_out_of_range_share=0.0, categories={"sex": ("F", "M")}),
    Quality(name="lax", window=50, max_missing_share=0.9, max_out_of_range_share=0.9, categories={"sex": ("F", "M")}),
    Drift(signal="age", name="again"),
    ConceptDrift(name="errors"),
    DemographicParity(by=("sex",), name="wide", window=200, max_gap=0.3, min_group=20),
    DemographicParity(by=("sex",), name="never", window=30, max_gap=1.0),
)


def alike(one: Any, two: Any) -> bool:
    """Tell whether two are equal where NaN equals itself."""
    return repr(one) == repr(two)


def batch(values: Sequence[Any], start: int, *, arrays: bool = False) -> Batch:
    fields = dict.fromkeys(name for value in values for name in value)
    columns: dict[str, Any] = {name: [value.get(name) for value in values] for name in fields}
    for name in ("age", "hours", "sex", "id"):
        columns.setdefault(name, [None] * len(values))
    if arrays:
        columns = {name: as_read(column) for name, column in columns.items()}
    return Batch(values, columns, lambda at: Seen(f"e{start + at}", start + at, values[at]))


def as_read(column: list[Any]) -> Any:
    """Return a column as it is where many were read: an array where it is one of numbers of one kind."""
    kinds = {type(value) for value in column}
    if kinds in ({bool}, {float}) or (kinds == {int} and all(-(1 << 63) <= value < 1 << 63 for value in column)):
        (kind,) = kinds
        return np.array(column, {bool: np.bool_, int: np.int64, float: np.float64}[kind])
    return column


def one_by_one(monitor: Monitor, values: Sequence[Any]) -> list[tuple[int, Alert]]:
    found = ((at, monitor.observe(Seen(f"e{at}", at, value))) for at, value in enumerate(values))
    return [(at, alert) for at, alert in found if alert is not None]


def in_batches(
    monitor: Monitor, values: Sequence[Any], cuts: Sequence[int], *, arrays: bool
) -> list[tuple[int, Alert]]:
    assert isinstance(monitor, Columnar)
    found = []
    edges = [0, *cuts, len(values)]
    for start, stop in pairwise(edges):
        if start < stop:
            some = batch(values[start:stop], start, arrays=arrays)
            found += [(start + at, alert) for at, alert in monitor.observe_all(some)]
    return found


@settings(deadline=None, max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32), st.sets(st.integers(1, 1199), max_size=40), st.booleans())
def test_given_any_cuts_every_monitor_says_and_remembers_what_it_does_event_by_event(seed, cuts, arrays):
    values = stream(random.Random(seed), 1200)

    for (_, whole), (_, cut) in zip(watch(DECLARED, PIPELINE), watch(DECLARED, PIPELINE), strict=True):
        expected = one_by_one(whole, values[whole.reads])

        assert in_batches(cut, values[cut.reads], sorted(cuts), arrays=arrays) == expected, whole.name
        assert cut.state() == whole.state(), whole.name


EVENTS = st.lists(st.dictionaries(st.sampled_from(["age", "hours", "sex"]), scalars), min_size=1, max_size=80)


@settings(deadline=None, max_examples=100)
@given(EVENTS, st.sets(st.integers(1, 79), max_size=10), st.integers(1, 9), st.booleans())
def test_given_any_values_and_cuts_quality_and_drift_say_what_they_do_one_by_one(values, cuts, window, arrays):
    declared = (
        Quality(window=window, max_out_of_range_share=0.5, categories={"sex": ("F",), "age": (1, 0)}),
        Drift(signal="all"),
    )
    cuts = sorted(cut for cut in cuts if cut < len(values))

    for (_, whole), (_, cut) in zip(watch(declared, PIPELINE), watch(declared, PIPELINE), strict=True):
        if whole.reads == "accepted":
            assert alike(in_batches(cut, values, cuts, arrays=arrays), one_by_one(whole, values)), whole.name
            assert alike(cut.state(), whole.state()), whole.name


# Where two kinds of value stand in one column, no quick look may pass over one of them.
@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("values", [[40.0, "x", 900.0], [1, 2.5, 900], [float("nan"), 1.0], [b"", 101], [True, 40.0]])
def test_given_values_of_several_kinds_the_quick_look_misses_none(values, arrays):
    for categories in ({}, {"age": (40, "x", True)}):
        [(_, age)] = watch([Quality(fields=("age",), window=1, categories=categories)], PIPELINE)
        [(_, same)] = watch([Quality(fields=("age",), window=1, categories=categories)], PIPELINE)
        events = [{"age": value} for value in values]

        assert alike(in_batches(age, events, [], arrays=arrays), one_by_one(same, events))


# Next to a bound that no float64 is; and what a difference cannot hold.
@pytest.mark.parametrize(
    "values", [[(1 << 53) + 1, 5], [1 << 53, -(1 << 63)], [1e308, -1e308, -0.0, 7.0], [True, False]]
)
def test_given_arrays_of_numbers_quality_and_drift_say_and_remember_what_they_do_one_by_one(values):
    events = [{"age": value} for value in values * 20]
    for low, high in ((0.0, float(1 << 53)), (-1e308, 1e308), (0.0, 1.0)):
        pipeline = Named("p", replace(EVENT, ranges={"age": (low, high)}))
        declared = (Quality(fields=("age",), window=3, max_out_of_range_share=0.5), Drift(signal="age"))

        for (_, whole), (_, cut) in zip(watch(declared, pipeline), watch(declared, pipeline), strict=True):
            assert alike(in_batches(cut, events, [7], arrays=True), one_by_one(whole, events))
            assert alike(cut.state(), whole.state())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([*"FMX", None]), st.booleans()), min_size=1, max_size=300),
    st.sets(st.integers(1, 299), max_size=4),
    st.integers(2, 60),
    st.floats(0, 1),
    st.booleans(),
)
def test_given_any_decisions_and_cuts_parity_says_what_it_does_one_by_one(pairs, cuts, window, max_gap, arrays):
    declared = [DemographicParity(by=("sex",), window=window, max_gap=max_gap, min_group=3)]
    [(_, whole)], [(_, cut)] = watch(declared, PIPELINE), watch(declared, PIPELINE)
    values = [decision("e", positive=positive, sex=sex) for sex, positive in pairs]
    for value in values[::17]:
        value["outcome"] = "shed"

    found = in_batches(cut, values, sorted(each for each in cuts if each < len(values)), arrays=arrays)

    assert found == one_by_one(whole, values)
    assert cut.state() == whole.state()


def test_given_more_groups_than_arrays_are_good_for_parity_counts_them_one_by_one():
    declared = [DemographicParity(by=("sex",), window=100, max_gap=0.5, min_group=1)]
    [(_, whole)], [(_, cut)] = watch(declared, PIPELINE), watch(declared, PIPELINE)
    values = [decision("e", positive=at % 3 == 0, sex=f"group {at % 50}") for at in range(300)]
    # Few again, in the places of those that are gone.
    values += [decision("e", positive=at % 2 == 0, sex=f"few {at % 3}") for at in range(300)]

    assert in_batches(cut, values, [150, 300, 450], arrays=False) == one_by_one(whole, values)
    assert cut.state() == whole.state()


def test_given_some_of_a_batch_its_columns_are_those_of_these_events():
    decisions = [decision(f"e{at}", positive=at % 2 == 0, sex="FM"[at % 2]) for at in range(6)]
    some = batch(decisions, 0, arrays=True).some([1, 2, 5])
    protected = some.coded("protected")

    assert len(some) == len([1, 2, 5])
    assert some.column("positive") == [False, True, False]
    assert protected.tolist() == some.column("protected") == [{"sex": "M"}, {"sex": "F"}, {"sex": "M"}]
    assert [some.seen(at).value["event_id"] for at in range(3)] == ["e1", "e2", "e5"]
    assert Batch([1, 2, 3], {"protected": protected}, some.seen).some([2]).column("protected") == [{"sex": "M"}]


def test_given_monitors_that_take_no_columns_a_panel_shows_them_events_whole_and_keeps_the_order():
    @dataclass
    class Odd:
        """An author's monitor: it speaks of every second event."""

        name: str = "odd"
        reads: str = "accepted"

        def observe(self, seen: Seen) -> Any:
            return {"monitor": self.name, "event_id": seen.event_id} if seen.event_time_us % 2 else None

    [(_, age)] = watch([Quality(fields=("age",), window=1, max_missing_share=0.0)], PIPELINE)
    panel = Panel([Odd(), age])  # type: ignore[list-item]
    values = [{"age": 1.0}, {"age": None}, {"age": 1.0}, {"age": None}]

    said = panel.show(batch(values, 0))

    assert panel.fields == ("age",)
    assert [(at, alert["monitor"]) for at, alert in said] == [
        (1, "odd"), (1, "quality.age"), (3, "odd"), (3, "quality.age")
    ]  # fmt: skip
