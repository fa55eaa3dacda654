"""Given batches and what they took, when a line is learned of them, then it is theirs, whatever was believed before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.line import Line

PARTS = st.floats(1e-4, 0.2)


@given(PARTS, PARTS, st.integers(0, 1000))
def test_given_batches_of_several_sizes_then_its_times_are_found(fixed_s, per_row_s, seed) -> None:
    random, line = np.random.default_rng(seed), Line()
    for _ in range(100):
        batch = int(random.choice([1, 2, 4, 8, 32]))
        line = line.learn(batch, (fixed_s + per_row_s * batch) * random.uniform(0.97, 1.03), 2)

    for batch in (1, 8, 32):
        assert line.latency_s(batch) == pytest.approx(fixed_s + per_row_s * batch, rel=0.15)


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(1e-5, 10.0), st.integers(1, 100)), min_size=1, max_size=30))
def test_given_any_batches_then_neither_part_is_negative_and_more_rows_never_take_less(served) -> None:
    line = Line()
    for batch, seconds, count in served:
        line = line.learn(batch, seconds, count)

    assert line.fixed_s > 0
    assert line.per_row_s > 0
    assert line.latency_s(1) <= line.latency_s(512)


def test_given_one_size_only_then_its_time_is_right_and_the_fixed_part_is_that_of_eight_rows() -> None:
    line = Line()
    for _ in range(20):
        line = line.learn(16, 0.24)

    assert line.latency_s(16) == pytest.approx(0.24, rel=0.02)
    assert line.fixed_s / line.per_row_s == pytest.approx(8.0, rel=0.1)


def test_given_another_model_that_is_doubted_then_it_is_learned_at_once() -> None:
    line = Line()
    for _ in range(100):
        line = line.learn(1, 0.02, 10).learn(10, 0.05, 10)
    line = line.doubted()
    for _ in range(3):
        line = line.learn(1, 0.06, 10).learn(10, 0.15, 10)

    assert line.latency_s(10) == pytest.approx(0.15, rel=0.15)
