"""What is there when a process is ready is never looked at again."""

import asyncio
import gc
import weakref

import pytest

from guidevane.runtime.garbage import freeze, sweep


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


class Node:
    """Something that may refer to itself."""

    def __init__(self) -> None:
        self.itself = self


async def swept(gone: weakref.ref[Node]) -> None:
    sweeping = asyncio.create_task(sweep(every_s=0.001))
    async with asyncio.timeout(5):
        while gone() is not None:
            await asyncio.sleep(0)
    sweeping.cancel()


async def test_who_is_swept_looks_by_the_clock_and_not_for_being_much():
    freeze(swept=True)
    before = gc.get_stats()
    held = [(number, [number]) for number in range(200_000)]
    assert gc.get_stats() == before
    del held
    gone = weakref.ref(Node())
    assert gone() is not None
    await swept(gone)


async def test_a_sweep_comes_to_what_has_outlived_others_too():
    freeze(swept=True)
    node = Node()
    gc.collect(1)
    gone = weakref.ref(node)
    del node
    gc.collect(1)
    assert gone() is not None
    await swept(gone)
