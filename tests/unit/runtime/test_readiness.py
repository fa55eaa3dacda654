"""Given a worker whose lives end in trouble, then it is not ready until one of them is seen to get further."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from unittest.mock import patch

from tests.unit.runtime.test_worker import PARTITIONS, committed, produce, upper, worker

from guidevane.errors import Retryable
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.log.memory.group import MemoryConsumer


async def test_given_answers_that_are_refused_for_a_while_then_the_room_is_not_ready_until_one_is_taken():
    refuses, lives, ready = True, 0, list[bool]()

    def on_send(topic: str, partition: int, messages: Sequence[Message]) -> None:
        nonlocal lives
        if topic == "p.out" and refuses:
            lives += 1
            raise Retryable("no room for answers")

    log = MemoryLog(PARTITIONS, on_send=on_send)
    await produce(log, [b"a"])
    room = worker(log, [upper("one", "p.events", "p.out", first=True)])
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while "no room for answers" not in str(room.health.report()):
            await asyncio.sleep(0)
        while lives < 5:
            await asyncio.sleep(0)
            ready.append(room.health.report()[0])
        assert not any(ready)
        assert "no room for answers" in str(room.health.report())
        refuses = False
        while not room.health.report()[0]:
            await asyncio.sleep(0)
        assert len(log.records("p.out")) == 1
    stop.set()
    await life


async def test_given_a_trouble_and_nothing_left_to_answer_then_the_room_is_ready_again():
    log = MemoryLog(PARTITIONS)
    room = worker(log, [upper("one", "p.events", "p.out", first=True)])
    await produce(log, [b"a", b"b"])
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    async with asyncio.timeout(5):
        while committed(log) < 2:
            await asyncio.sleep(0)
        with patch.object(MemoryConsumer, "fetch", side_effect=Retryable("nobody leads it")):
            while "nobody leads it" not in str(room.health.report()):
                await asyncio.sleep(0)
        while not room.health.report()[0]:
            await asyncio.sleep(0)
    stop.set()
    await life
