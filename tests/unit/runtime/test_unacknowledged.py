"""Given a partition that takes no writes, then the room that waits for it says where, while it waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.runtime.test_worker import FAST, committed, upper, worker

from guidevane.log import Message, Partition
from guidevane.log.memory import MemoryLog
from guidevane.runtime.unacknowledged import Unacknowledged
from guidevane.testing import ManualClock


def test_a_topic_that_takes_nothing_for_long_is_told_of_once_and_one_that_is_slow_never_is(caplog):
    clock = ManualClock()
    noticing = Unacknowledged(clock, within_s=5.0)
    stuck = {Partition("p.out", number): clock.monotonic_s() for number in range(6)}
    for round_ in range(6):
        noticing.look({**stuck, Partition("p.dlq", 0): clock.monotonic_s() - 1.0})
        assert len(noticing.says) == (1 if round_ >= 3 else 0)
        clock.advance(2.0)
    assert "p.out has acknowledged nothing in partition 0, 1, 2, 3 and 2 more for 12 s" in noticing.says[0]
    assert "→ guidevane doctor" in noticing.says[0]
    assert caplog.text.count("has acknowledged nothing") == 1
    noticing.look({})
    assert (noticing.says, caplog.text.count("takes writes again")) == ((), 1)


@pytest.mark.parametrize("mode", ["effective", "transactional"])
async def test_a_room_says_which_topic_takes_nothing_and_goes_on_when_it_does(mode):
    log, taken = MemoryLog(2), asyncio.Event()
    append = log.append

    async def refused(topic, partition, messages, **more):
        if (topic, partition) == ("p.out", 1):
            await taken.wait()
        return await append(topic, partition, messages, **more)

    log.append = refused
    limits = replace(FAST, acknowledged_s=0.0)
    room = worker(log, [upper("one", "p.events", "p.out", first=True)], limits, mode=mode)
    for number in range(2):
        await append("p.events", number, [Message(None, b"event")])
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while "p.out has acknowledged nothing in partition 1 for" not in str(room.health.report()):
            await asyncio.sleep(0.001)
        taken.set()
        while committed(log) < 2 or room.health.report()[1]["watch"]:
            await asyncio.sleep(0.001)
    stop.set()
    await life
    assert len(log.records("p.out")) == 2


async def test_a_member_that_takes_its_time_is_not_taken_for_a_topic_that_takes_nothing():
    log, spoken, heard = MemoryLog(1), asyncio.Event(), []
    first, second = upper("one", "p.events", "p.mid", first=True), upper("two", "p.mid", "p.out")

    async def slow(records):
        await spoken.wait()
        return await second.handle(records)

    limits = replace(FAST, acknowledged_s=0.0)
    room = worker(log, [first, replace(second, handle=slow)], limits, mode="transactional")
    room.health.watch = lambda *says: heard.append(says)
    await log.append("p.events", 0, [Message(None, b"event")])
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while not room.pacing.records:
            await asyncio.sleep(0.001)
        looks = len(heard) + 20
        while len(heard) < looks:
            await asyncio.sleep(0.001)
        assert not any(heard)
        spoken.set()
        while committed(log) < 1:
            await asyncio.sleep(0.001)
    stop.set()
    await life
