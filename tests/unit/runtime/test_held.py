"""Given a producer's transaction that stays open, then the room that waits for it says where, and what to do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.unit.runtime.test_worker import FAST, committed, upper, worker

from guidevane.log import Message, Partition
from guidevane.log.memory import MemoryLog
from guidevane.runtime.held import Held
from guidevane.testing import ManualClock


def test_a_partition_that_stands_still_is_told_of_once_that_takes_long_and_one_that_moves_never_is(caplog):
    clock = ManualClock()
    held = Held(clock, within_s=30.0)
    stuck, moving = Partition("p.events", 3), Partition("p.events", 4)
    for round_ in range(8):
        held.look({stuck: 17, moving: round_})
        assert (len(held.says), held.partitions("p.events")) == ((1, 1) if round_ >= 6 else (0, 0))
        clock.advance(5.0)
    assert "p.events/3 is held up at offset 17" in held.says[0]
    assert "--topic p.events --partition 3 --start-offset 17" in held.says[0]
    assert caplog.text.count("is held up at offset 17") == 1
    held.look({moving: 8})
    assert (held.says, held.partitions("p.events")) == ((), 0)


async def test_a_room_whose_partition_is_held_says_so_while_it_answers_the_others_and_goes_on_where_it_was():
    log = MemoryLog(2)
    room = worker(log, [upper("one", "p.events", "p.out", first=True)], replace(FAST, held_s=0.0, commit_every_s=0.0))
    holder = await log.transactions("t", name="p")
    await holder.begin()
    await holder.send("p.events", 0, [Message(None, b"open")])
    await log.append("p.events", 0, [Message(None, b"behind")])
    await log.append("p.events", 1, [Message(None, b"free")])
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while "p.events/0 is held up at offset 0" not in str(room.health.report()):
            await asyncio.sleep(0.001)
        while not log.records("p.out"):
            await asyncio.sleep(0.001)
        assert room.health.report()[0], "it works, and somebody else must end what holds it"
        await holder.commit("g", {})
        while committed(log) < 3 or room.health.report()[1]["watch"]:
            await asyncio.sleep(0.001)
    stop.set()
    await life
    assert sorted(record.value for record in log.records("p.out")) == [b"behindone", b"freeone", b"openone"]
