"""Given values, when they are put into buckets, then what is read back is no further off than a bucket."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guidevane.events import Histogram
from guidevane.telemetry.histogram import BOUNDS, BUCKETS, bucket_of, fill, merge, quantile, share_above

VALUES = st.lists(st.floats(2e-5, 9_000.0), min_size=1, max_size=200)


@given(st.lists(st.floats(0.0, 1e9), max_size=100))
def test_given_any_values_when_filled_by_the_array_then_each_lies_where_it_lies_alone(values: list[float]) -> None:
    alone = [0] * BUCKETS
    for value in values:
        alone[bucket_of(value)] += 1

    assert fill(np.array(values)).tolist() == alone


@given(VALUES, st.floats(0.01, 1.0))
def test_given_values_when_a_quantile_is_estimated_then_it_is_within_one_bucket(values: list[float], p: float) -> None:
    exact = sorted(values)[max(math.ceil(p * len(values) - 1e-9), 1) - 1]

    estimate = quantile(fill(np.array(values)), p)

    assert estimate is not None
    step = 10 ** (1 / 8) * 1.01
    assert exact / step <= estimate <= exact * step


@given(VALUES, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_given_two_quantiles_then_the_higher_is_not_below_the_lower(values: list[float], p: float, q: float) -> None:
    buckets = fill(np.array(values))
    low, high = quantile(buckets, min(p, q)), quantile(buckets, max(p, q))

    assert low is not None
    assert high is not None
    assert low <= high


def test_given_nothing_observed_when_asked_then_the_answer_is_none_and_never_zero() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None
    assert share_above([0] * BUCKETS, 1.0) is None


def test_given_what_is_beyond_the_last_bound_when_asked_then_the_answer_is_infinite() -> None:
    assert quantile(fill(np.array([1e9])), 0.5) == math.inf


@given(VALUES, VALUES)
def test_given_two_instances_when_merged_then_it_is_as_if_one_had_seen_all(a: list[float], b: list[float]) -> None:
    def of(values: list[float]) -> Histogram:
        return Histogram(count=len(values), sum=math.fsum(values), buckets=fill(np.array(values)).tolist())

    merged, whole = merge([of(a), of(b)]), of(a + b)

    assert merged["buckets"] == whole["buckets"]
    assert merged["count"] == whole["count"]
    assert math.isclose(merged["sum"], whole["sum"], rel_tol=1e-9)


def test_given_the_bounds_then_they_grow_by_an_eighth_of_a_decade_and_cannot_be_written() -> None:
    ratios = BOUNDS[1:] / BOUNDS[:-1]

    assert np.allclose(ratios, 10 ** (1 / 8), rtol=0.01)
    assert not BOUNDS.flags.writeable
