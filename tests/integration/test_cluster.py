"""Three brokers, of which some go away: what was acknowledged stays, and the doctor says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from guidevane.doctor import Where, cluster
from guidevane.drill.brokers import Brokers
from guidevane.drill.waiting import until
from guidevane.errors import Retryable
from guidevane.log import Message, Partition
from guidevane.log.kafka import Connection, KafkaLog, KafkaOperator
from guidevane.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

TOPICS = Topics("p")
PLACE = Partition(TOPICS.events, 0)


async def heard(call: Callable[[], Awaitable[object]]) -> None:
    """Ask until a broker answers: an operator's client may take one that is away."""

    async def answered() -> bool:
        try:
            await call()
        except Retryable:
            return False
        return True

    assert await until(answered, 60)


async def write(log: KafkaLog, acknowledged: list[bytes], stop: asyncio.Event) -> None:
    """Write one number after the other, each until it is acknowledged; with a new producer after each doubt."""
    producer, number = await log.producer(name="p"), 0
    while not stop.is_set():
        value = str(number).encode()
        try:
            await producer.send(*PLACE, [Message(b"k", value)])
        except Retryable:
            await producer.close()
            producer = await log.producer(name="p")
            continue
        acknowledged.append(value)
        number += 1
    await producer.close()


async def test_brokers_that_go_away_take_nothing_along_and_are_named_until_they_are_back(tmp_path: Path):
    async with AsyncExitStack() as open_:
        brokers = await open_.enter_async_context(Brokers(tmp_path))
        log = KafkaLog(Connection(brokers.bootstrap))
        open_.push_async_callback(log.close)
        await log.ensure(TOPICS.specs(2))
        operator = await open_.enter_async_context(KafkaOperator(Connection(brokers.bootstrap)))
        where = Where(state_dir=tmp_path, kafka=brokers.bootstrap, pipeline="p")
        acknowledged: list[bytes] = []
        stop = asyncio.Event()
        writing = asyncio.create_task(write(log, acknowledged, stop))

        async def doctor_says(status: str, says: str, mend: str = "") -> None:
            async def so() -> bool:
                found = await cluster.replicas(where)
                return found.status == status and says in found.says and mend in found.mend

            assert await until(so, 60), await cluster.replicas(where)

        async def goes_on() -> None:
            before = len(acknowledged)

            async def more() -> bool:
                return len(acknowledged) > before

            assert await until(more, 60)

        await doctor_says("ok", "3 of everything on 3 brokers, all in sync")
        at = (await operator.layout())[PLACE]
        await operator.move({PLACE: (*at.brokers[:0:-1], at.leader)})
        await goes_on()
        away = (await operator.layout())[PLACE].leader
        await brokers.kill([away])
        await goes_on()
        await doctor_says("warn", f"2 of {TOPICS.events}", f"start broker {away} again")
        await heard(lambda: operator.configure(TOPICS.events, {"min.insync.replicas": "3"}))
        await doctor_says(
            "fail", f"fewer replicas in sync than min.insync.replicas: 2 of {TOPICS.events}",
            f"start broker {away} again, or open the way to it; where min.insync.replicas was raised",
        )  # fmt: skip
        await brokers.kill([next(number for number in brokers.numbers if number != away)])
        await doctor_says("fail", "no broker leads", "again, or open the way to it")
        await brokers.start(brokers.numbers)
        await goes_on()
        await doctor_says("warn", "min.insync.replicas as high as there are replicas", "min.insync.replicas=2")
        stop.set()
        await writing
        found = [record.value for record in await log.read(PLACE, 0)]
        # What was in doubt may be there twice, one after the other; nothing may be missing or out of order.
        assert list(dict.fromkeys(found)) == acknowledged
