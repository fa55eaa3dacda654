"""What is there when a process is ready is never looked at again."""

import gc

import pytest

from guidevane.runtime.garbage import freeze


@pytest.fixture(autouse=True)
def thawed():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_a_collection_walks_only_what_came_after():
    freeze()
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_a_cycle_that_came_after_is_collected_all_the_same():
    freeze()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1


def test_what_lives_until_it_is_answered_is_not_looked_at_again_and_again():
    freeze()
    before = [each["collections"] for each in gc.get_stats()]
    flights = [[(number, [number]) for number in range(5_000)] for _ in range(4)]
    assert [each["collections"] for each in gc.get_stats()] == before
    del flights
