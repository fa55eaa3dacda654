"""Topics that change beneath a room, or while none is there: it says so, and passes nothing over."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.runtime.test_worker import FAST, Saboteur, committed, run_until, upper, worker

from guidevane.errors import Retryable
from guidevane.log import Message, Partition
from guidevane.log.memory import MemoryLog, MemoryPartition
from guidevane.reading import read_effective
from guidevane.runtime.deadletter import CAUSE
from guidevane.runtime.stage import ORIGIN, origin_of


async def test_given_partitions_that_nobody_can_answer_then_the_room_says_so_and_answers_the_others():
    log = MemoryLog(1)
    stages = [upper("one", "p.events", "p.out", first=True)]
    room = worker(log, stages, replace(FAST, look_every_s=0.0))
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while not room.health.report()[0]:
            await asyncio.sleep(0.001)
        log.topics["p.events"].append(MemoryPartition())
        while "nobody answers what is sent to [1]" not in str(room.health.report()):
            await asyncio.sleep(0.001)
        await log.append("p.events", 0, [Message(None, b"e")])
        while committed(log) < 1:
            await asyncio.sleep(0.001)
    stop.set()
    await life
    assert len(log.records("p.out")) == 1


@pytest.mark.parametrize("away", ["hangs", "refuses"])
async def test_given_a_log_that_does_not_say_where_topics_end_then_the_room_answers_all_the_same(away):
    log, asked = MemoryLog(1), asyncio.Event()
    room = worker(log, [upper("one", "p.events", "p.out", first=True)], replace(FAST, look_every_s=0.0))
    ends = log.ends

    async def silent(topic):
        if not room.health.report()[0]:
            return await ends(topic)
        asked.set()
        if away == "refuses":
            raise Retryable("no answer")
        return await asyncio.Event().wait()

    log.ends = silent
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        await asked.wait()
        await log.append("p.events", 0, [Message(None, b"e")])
        while committed(log) < 1:
            await asyncio.sleep(0.001)
        assert room.health.report()[0]
    stop.set()
    await life
    assert len(log.records("p.out")) == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_given_a_topic_that_was_made_anew_then_the_room_says_so_and_passes_nothing_over(reset):
    log = MemoryLog(1)
    stages = [upper("one", "p.events", "p.out", first=True)]
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(5)])
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 5)
    log.topics["p.events"] = [MemoryPartition()]
    if reset:
        log.groups["g"].places.clear()
    await log.append("p.events", 0, [Message(None, b"new")])
    room = worker(log, stages)
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while "was made anew" not in str(room.health.report()):
            await asyncio.sleep(0.001)
    stop.set()
    await life
    assert len(log.records("p.out")) == 5


async def test_given_a_topic_that_is_made_anew_beneath_a_room_then_the_room_says_so():
    log = MemoryLog(1)
    stages = [upper("one", "p.events", "p.out", first=True)]
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(5)])
    room = worker(log, stages)
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while committed(log) < 5:
            await asyncio.sleep(0.001)
        log.topics["p.events"] = [MemoryPartition()]
        await log.append("p.events", 0, [Message(None, b"new")])
        for member in log.groups["g"].members:
            # As a client does whose place is not there any more.
            member.seek(Partition("p.events", 0), 0)
        while "was made anew" not in str(room.health.report()):
            await asyncio.sleep(0.001)
    stop.set()
    await life
    assert len(log.records("p.out")) == 5


async def test_given_an_output_that_was_made_anew_then_answers_behind_a_crash_are_found_all_the_same():
    log = MemoryLog(1)
    stages = [upper("one", "p.events", "p.out", first=True)]
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(5)])
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 5)
    log.topics["p.out"] = [MemoryPartition()]
    await log.append("p.events", 0, [Message(None, b"e5")])
    crash = Saboteur(log, {1: "crash after"})
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 6, crash)
    assert [origin_of(record, first=False) for record in log.records("p.out")] == [5]


@pytest.mark.parametrize("headers", [(), ((ORIGIN, b"9" * 5_000),), ((ORIGIN, None),)])
@pytest.mark.parametrize("mode", ["effective", "transactional"])
async def test_given_a_stray_on_a_topic_of_ours_then_it_is_set_aside_and_answers_for_no_event(headers, mode):
    log = MemoryLog(1)
    await log.append("p.mid", 0, [Message(None, b"stray", headers)])
    # At its offset comes, from the first topic, the event whose letter it must not hide.
    for origin, value in enumerate((b"poison", b"e")):
        await log.append("p.mid", 0, [Message(None, value, ((ORIGIN, b"%d" % origin),))])
    stages = [upper("two", "p.mid", "p.out")]
    crash = Saboteur(log, {1: "crash after"})
    await run_until(log, lambda: worker(log, stages, mode=mode), lambda: committed(log, "p.mid") >= 3, crash)
    assert [origin_of(record, first=False) for record in log.records("p.out")] == [1]
    seen = read_effective(log.records("p.dlq"))
    letters = [(record.header(CAUSE), origin_of(record, first=False)) for record in seen]
    assert set(letters) == {(b"stray", None), (b"poison", 0)}
    assert letters.count((b"poison", 0)) == 1


async def test_given_strays_on_an_output_then_no_event_passes_for_answered():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(3)])
    await log.append("p.out", 0, [Message(None, b"stray")])
    stages = [upper("one", "p.events", "p.out", first=True)]
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 3)
    assert [origin_of(record, first=False) for record in log.records("p.out")] == [None, 0, 1, 2]


async def test_given_events_that_were_deleted_before_anybody_answered_then_whoever_takes_over_says_how_many(caplog):
    log = MemoryLog(1)
    stages = [upper("one", "p.events", "p.out", first=True)]
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(5)])
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 5)
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(5, 9)])
    log.topic("p.events")[0].start = 7
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 9)
    assert [origin_of(record, first=False) for record in log.records("p.out")] == [0, 1, 2, 3, 4, 7, 8]
    assert "p.events/0 begins at offset 7, and nobody has answered what came from 5 on: 2 records" in caplog.text


@pytest.mark.parametrize("kept", [0, 3])
async def test_given_a_group_without_a_place_then_answers_that_are_gone_are_told_of(kept, caplog):
    log = MemoryLog(1)
    stages = [upper("one", "p.events", "p.out", first=True)]
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(5)])
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 5)
    log.groups["g"].places.clear()
    log.topic("p.out")[0].start = kept
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 5)
    assert [origin_of(record, first=False) for record in log.records("p.out")] == [*range(kept, 5), *range(kept)]
    assert ("the oldest records of p.out are gone" in caplog.text) == bool(kept)
