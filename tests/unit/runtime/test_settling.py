"""Given writes or commits that nobody has acknowledged, when partitions change hands, then none of it is undone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.unit.runtime.test_worker import FAST, upper, worker

from guidevane.errors import Retryable
from guidevane.log import Fetch, Message, Partition
from guidevane.log.memory import MemoryLog
from guidevane.log.memory.group import MemoryConsumer
from guidevane.log.memory.producer import MemoryProducer
from guidevane.runtime import committing
from guidevane.runtime.stage import Stage, origin_of
from guidevane.runtime.worker import UNSETTLED

EVENTS = Partition("p.events", 0)


class Insistent(MemoryProducer):
    """As Kafka's idempotent producer: what the broker does not answer is sent again, whoever waits for it."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.under_way: list[asyncio.Task[int]] = []

    async def post(self, topic, partition, messages):
        if self.log.answers.is_set():
            return await super().post(topic, partition, messages)
        self.under_way.append(asyncio.create_task(self._later(topic, partition, messages)))
        return asyncio.shield(self.under_way[-1])

    async def _later(self, topic, partition, messages):
        await self.log.answers.wait()
        return await self._append(topic, partition, messages)

    async def flush(self):
        if not self.log.answers.is_set():
            self.log.waited_for.set()
        if self.under_way:
            await asyncio.wait(self.under_way)


class Log(MemoryLog):
    """Takes no writes for a while, and can be read meanwhile."""

    def __init__(self) -> None:
        super().__init__(1)
        self.answers = asyncio.Event()
        self.answers.set()
        self.waited_for = asyncio.Event()

    async def producer(self, *, name):
        return Insistent(self)


def consume_by(kind: type[MemoryConsumer], log: MemoryLog) -> None:
    """Have the members of the log's one group be of a kind."""
    members = log.group("g")
    log.consumer = lambda topics, *, instance, listener, fetch, **_: kind(
        log, tuple(topics), fetch, members, instance, listener
    )


async def until(true, within_s=5.0):
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.001)


async def change_hands(room) -> None:
    """As the group does it where it takes somebody for gone, who comes back."""
    await room.on_revoked([EVENTS])
    await room.on_assigned([EVENTS])


async def start_over(room) -> None:
    """As after any request that nobody answers."""
    land = room.holding.land

    def lost():
        room.holding.land = land
        raise Retryable("the coordinator does not answer")

    room.holding.land = lost


@pytest.mark.parametrize("trouble", [change_hands, start_over])
async def test_what_is_still_on_its_way_is_waited_for_before_anybody_looks_what_is_answered(trouble):
    log = Log()
    stages = [upper("one", "p.events", "p.out", first=True)]
    # A rebalance waits for what is under way, for half of the session.
    room = worker(log, stages, limits=replace(FAST, session_s=0.5))
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    await log.append("p.events", 0, [Message(None, b"before")])
    await until(lambda: len(log.records("p.out")) == 1)
    log.answers.clear()
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(3)])
    await until(room.holding.awaited)
    await trouble(room)
    await until(log.waited_for.is_set)
    if trouble is change_hands:
        await until(lambda: room.health.report()[1]["reasons"] == [UNSETTLED])
    log.answers.set()
    await until(lambda: len(log.records("p.out")) >= 4)
    await log.append("p.events", 0, [Message(None, b"after")])
    await until(lambda: origin_of(log.records("p.out")[-1], first=False) == 4)
    stop.set()
    await life
    assert [origin_of(record, first=False) for record in log.records("p.out")] == [0, 1, 2, 3, 4]


async def test_a_commit_that_waits_for_its_coordinator_is_not_heard_behind_one_that_has_more_to_say():
    log, gates = MemoryLog(1), [asyncio.Event(), asyncio.Event()]
    told: list[int] = []
    first, second = asyncio.Event(), asyncio.Event()

    async def handle(records):
        for record in records:
            await gates[record.offset].wait()
        return [Message(record.key, record.value) for record in records]

    class Slow(MemoryConsumer):
        async def commit(self, offsets):
            if first.is_set():
                second.set()
            else:
                first.set()
                # As aiokafka's: each caller tries for itself, and who comes later may find the coordinator first.
                with suppress(TimeoutError):
                    await asyncio.wait_for(second.wait(), 0.3)
            told.extend(place.offset for place in offsets.values())
            await super().commit(offsets)

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True, concurrency=2)
    room = worker(log, [stage], limits=replace(FAST, fetch=Fetch(max_records=1)))
    consume_by(Slow, log)
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(2)])
    await until(lambda: room.pacing.records == 2)
    gates[0].set()
    await until(first.is_set)
    # While the loop waits for its commit, a rebalance lets land what is under way, and commits that.
    gates[1].set()
    await change_hands(room)
    stop.set()
    await life
    assert told == [1, 2]


class Silent(MemoryConsumer):
    """Its coordinator does not answer."""

    async def commit(self, offsets):
        await asyncio.Event().wait()


@pytest.mark.parametrize(("most_s", "more"), [(60.0, 3), (0.0, 0)])
async def test_while_nobody_answers_commits_events_go_on_but_not_for_ever(monkeypatch, most_s, more):
    monkeypatch.setattr(committing, "_UNCOMMITTED_S", most_s)
    log = MemoryLog(1)
    room = worker(log, [upper("one", "p.events", "p.out", first=True)])
    consume_by(Silent, log)
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    await log.append("p.events", 0, [Message(None, b"before")])
    await until(lambda: room.health.report()[0] and len(log.records("p.out")) == 1)
    ticks = count_ticks(room)
    await until(lambda: len(ticks) > 3)
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(3)])
    await until(lambda: len(ticks) > 20)
    assert len(log.records("p.out")) == 1 + more
    life.cancel()
    await asyncio.wait([life])


def count_ticks(room) -> list[None]:
    """Return a list that grows with each turn of the loop."""
    turns: list[None] = []
    tick = room.health.tick

    def counted():
        turns.append(None)
        tick()

    room.health.tick = counted
    return turns
