"""What nobody waits for gathers, goes out in its order, and is forgotten where it is no longer ours."""

import asyncio

import pytest

from guidevane.clock import SystemClock
from guidevane.errors import Fenced, Retryable
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.fence import Fence
from guidevane.runtime.lingering import Lingering
from guidevane.testing import ManualClock


def message(text):
    return Message(None, text.encode())


async def lingering(log, *, clock=None, linger_s=0.001, most=4096):
    fence = Fence(clock or SystemClock(), 10.0)
    fence.reset()
    return Lingering(await log.producer(name="p"), fence, linger_s=linger_s, most=most)


async def test_what_is_posted_within_a_moment_is_appended_at_once_and_each_learns_its_own_offset():
    log, appended = MemoryLog(partitions=2), []
    append = log.append

    async def noted(topic, partition, messages):
        appended.append((topic, partition, len(messages)))
        return await append(topic, partition, messages)

    log.append = noted
    gathering = await lingering(log)
    offsets = [gathering.post("t", i % 2, [message(f"{i}a"), message(f"{i}b")]) for i in range(4)]
    assert [await offset for offset in offsets] == [0, 0, 2, 2]
    assert appended == [("t", 0, 4), ("t", 1, 4)]
    assert [r.value for r in log.records("t") if r.partition == 0] == [b"0a", b"0b", b"2a", b"2b"]


async def test_where_enough_has_gathered_the_time_is_not_waited_for_and_the_next_gathers_anew():
    log = MemoryLog(partitions=2)
    gathering = await lingering(log, linger_s=600.0, most=5)
    for _ in range(2):
        offsets = [gathering.post("t", i % 2, [message(str(i))]) for i in range(4)]
        for _ in range(5):
            await asyncio.sleep(0)
        before = len(log.records("t"))
        offsets.append(gathering.post("u", 0, [message("the fifth")]))
        assert before == len(log.records("u")) * 4
        async with asyncio.timeout(10):
            assert [await offset for offset in offsets] == [each + before // 2 for each in (0, 0, 1, 1)] + [before // 4]


async def test_what_cannot_be_written_is_told_to_everyone_who_waits_for_it():
    log = MemoryLog(partitions=1)

    async def refused(topic, partition, messages):
        raise Retryable("no broker")

    log.append = refused
    gathering = await lingering(log)
    offsets = [gathering.post("t", 0, [message(str(i))]) for i in range(3)]
    for offset in offsets:
        with pytest.raises(Retryable, match="no broker"):
            await offset


async def test_after_a_failure_nothing_that_came_behind_it_is_written_until_it_is_dropped():
    log, asked, go = MemoryLog(partitions=1), asyncio.Event(), asyncio.Event()
    append = log.append

    async def refused(topic, partition, messages):
        asked.set()
        await go.wait()
        log.append = append
        raise Retryable("no answer")

    log.append = refused
    gathering = await lingering(log)
    first = gathering.post("t", 0, [message("first")])
    await asked.wait()
    behind = gathering.post("t", 0, [message("behind")])
    go.set()
    for offset in (first, behind):
        with pytest.raises(Retryable, match="no answer"):
            await offset
    with pytest.raises(Retryable, match="no answer"):
        await gathering.post("t", 0, [message("later")])
    assert log.records("t") == []


async def test_what_is_dropped_is_not_written_and_nobody_is_left_waiting():
    log = MemoryLog(partitions=1)
    gathering = await lingering(log, linger_s=60.0)
    offset = gathering.post("t", 0, [message("a")])
    gathering.drop()
    with pytest.raises(asyncio.CancelledError):
        await offset
    assert log.records("t") == []
    assert await _short(gathering, log) == 0


async def _short(gathering, log):
    gathering.linger_s = 0.001
    return await gathering.post("t", 0, [message("b")])


async def test_a_process_that_stood_still_for_too_long_writes_nothing():
    log, clock = MemoryLog(partitions=1), ManualClock()
    gathering = await lingering(log, clock=clock)
    offset = gathering.post("t", 0, [message("a")])
    clock.advance(11.0)
    with pytest.raises(Fenced):
        await offset
    assert log.records("t") == []
