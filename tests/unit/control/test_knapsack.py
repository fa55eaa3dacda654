"""Given several pipelines on one capacity, when it is shared, then nobody could have shared it better."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.knapsack import fairest, shares

TABLES = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=1, max_size=4)


def every(tables, capacity):
    return [each for each in product(*(range(len(table)) for table in tables)) if sum(each) <= capacity]


def misses(tables, units):
    return [table[k] for table, k in zip(tables, units, strict=True)]


@given(TABLES, st.integers(0, 12))
def test_shares_miss_as_little_as_the_best_of_all_ways(tables, capacity):
    found = shares(tables, capacity)

    assert sum(found) <= capacity
    assert sum(misses(tables, found)) == min(sum(misses(tables, each)) for each in every(tables, capacity))


@given(TABLES, st.integers(0, 12))
def test_the_worst_of_the_fairest_is_the_best_worst(tables, capacity):
    found = fairest(tables, capacity)

    assert max(misses(tables, found)) == min(max(misses(tables, each)) for each in every(tables, capacity))


def test_a_capacity_that_lets_not_all_run_is_refused():
    with pytest.raises(ValueError, match="1 units are too few for 2 pipelines"):
        shares([[float("inf"), 1.0]] * 2, 1)
