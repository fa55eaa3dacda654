"""Tiles grow and shrink where that changes no byte, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.registry import Growing, Tiled
from guidevane.testing import ManualClock

TILE = 8


class Summing:
    """A model whose last bits are other ones for the shapes in ``differs``, at the places that ``where`` tells."""

    version = "1"
    device = "cpu"

    def __init__(self, differs=(), where=lambda _: True):
        self.differs = differs
        self.where = where
        self.shapes = []

    def predict(self, matrix):
        self.shapes.append(len(matrix))
        scores = matrix.astype(np.float64).sum(axis=1)
        if len(matrix) in self.differs:
            odd = np.array([self.where(place) for place in range(len(matrix))])
            scores[odd] = np.nextafter(scores[odd], np.inf)
        return scores


class Slow(Summing):
    """Takes a tenth of a second a call."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def predict(self, matrix):
        self.clock.advance(0.1)
        return super().predict(matrix)


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def never_idle(calls):
    clock = ManualClock()
    model = Slow(clock)
    growing = Growing(model, TILE, clock=clock)
    for seed in range(calls):
        growing.predict(rows(3, seed))
    return clock, model, growing


@given(
    counts=st.lists(st.integers(0, 100), min_size=1, max_size=12),
    differs=st.sets(st.sampled_from([4, 16, 32, 64])),
)
def test_given_any_batches_then_every_answer_has_the_bytes_of_tiles(counts, differs):
    growing = Growing(Summing(differs), TILE, sure=128, every=1)
    for seed, count in enumerate(counts):
        batch = rows(count, seed)
        assert growing.predict(batch).tobytes() == Tiled(Summing(differs), TILE).predict(batch).tobytes()
    assert not differs & set(growing.sizes)


@pytest.mark.parametrize(("batch", "shape"), [(3, 4), (16, 16), (30, 32), (64, 64), (100, 64)])
def test_given_a_size_that_gives_the_same_bytes_when_it_was_seen_often_enough_then_it_is_used(batch, shape):
    model = Summing()
    growing = Growing(model, TILE, sure=256, every=1)
    for seed in range(100):
        growing.predict(rows(batch, seed))
    model.shapes.clear()
    growing.predict(rows(batch))
    assert model.shapes[0] == shape
    assert sum(model.shapes) <= -(-batch // TILE) * TILE


@pytest.mark.parametrize("place", range(16))
def test_given_a_size_that_differs_at_one_place_only_then_it_is_not_used(place):
    growing = Growing(Summing({16}, lambda at: at == place), TILE, sure=256, every=1)
    for seed in range(100):
        growing.predict(rows(16, seed))
    assert 16 not in growing.sizes


def test_given_sizes_that_are_not_sure_yet_then_one_call_in_four_is_made_twice():
    model = Summing()
    growing = Growing(model, TILE, sure=10_000)
    for seed in range(8):
        growing.predict(rows(3, seed))
    assert model.shapes == ([TILE] * 4 + [TILE // 2]) * 2


def test_given_a_member_that_is_never_idle_then_trials_take_a_hundredth_of_its_time():
    _, model, _ = never_idle(1000)
    trials = model.shapes.count(TILE // 2)
    # What was kept pays for the first three, and a hundredth of a hundred seconds for ten more.
    assert trials in range(12, 15)


def test_given_a_member_that_was_busy_when_it_has_idled_then_it_tries_again():
    clock, model, growing = never_idle(100)
    tried = model.shapes.count(TILE // 2)
    for seed in range(8):
        clock.advance(1.0)
        growing.predict(rows(3, seed))
    assert model.shapes.count(TILE // 2) == tried + 2


def test_given_a_caller_that_is_pressed_then_its_pauses_are_not_for_trials():
    clock, model, growing = never_idle(100)
    tried, growing.spare.pressed = model.shapes.count(TILE // 2), True
    for seed in range(8):
        clock.advance(1.0)
        growing.predict(rows(3, seed))
    assert model.shapes.count(TILE // 2) == tried


def test_given_rows_that_are_all_alike_then_nothing_is_learned_from_them():
    growing = Growing(Summing(), TILE, sure=16, every=1)
    for _ in range(100):
        growing.predict(np.zeros((16, 3), dtype=np.float32))
    assert growing.sizes == ()


def test_given_a_model_that_takes_one_shape_only_then_it_is_asked_with_that():
    class Fixed(Summing):
        def predict(self, matrix):
            if len(matrix) != TILE:
                raise RuntimeError("compiled for another shape")
            return super().predict(matrix)

    growing = Growing(Fixed(), TILE, sure=16, every=1)
    for count in (3, 16, 100):
        assert len(growing.predict(rows(count))) == count
    assert growing.sizes == ()
