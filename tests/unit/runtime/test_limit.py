"""A limit on the share of dead letters: it really stops the room, says why, and loses nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.clock import SystemClock
from guidevane.errors import Reject
from guidevane.log import Fetch, Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.limit import DeadLetterLimit, Tally, TooManyDeadLetters
from guidevane.runtime.stage import ORIGIN, Stage
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry import names
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

LIMITS = Limits(
    fetch=Fetch(max_records=7, max_records_behind=28), poll_s=0.002, commit_every_s=0.0, linger_s=0.0,
    dead_letters=DeadLetterLimit(share=0.5, window=50, least=20),
)  # fmt: skip


def stage(*, mended: bool) -> Stage:
    async def handle(records):
        return [
            Message(r.key, r.value) if mended or r.value.startswith(b"good") else Reject("no_good", "no good")
            for r in records
        ]

    return Stage(name="one", input="p.events", output="p.out", handle=handle, first=True, concurrency=3)


def worker(log: MemoryLog, *, mended: bool = False, limits: Limits = LIMITS) -> Worker:
    clock = SystemClock()
    return Worker(
        [stage(mended=mended)], log=log, dlq="p.dlq", group="g", instance="i", clock=clock,
        metrics=Metrics("p", "test", "i"), health=Health(clock), limits=limits,
    )  # fmt: skip


async def produce(log: MemoryLog, values: list[bytes]) -> None:
    await log.append("p.events", 0, [Message(None, value) for value in values])


async def until_all_are_answered(log: MemoryLog, made: Worker, count: int) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    async with asyncio.timeout(20):
        while len(log.records("p.out")) + len(log.records("p.dlq")) < count and not running.done():
            await asyncio.sleep(0.001)
    stop.set()
    await running


async def test_past_the_limit_the_room_stops_and_says_why_and_started_again_when_mended_it_loses_nothing():
    log = MemoryLog()
    await produce(log, [b"good %d" % i for i in range(40)] + [b"bad %d" % i for i in range(300)])
    stopped = worker(log)
    with pytest.raises(TooManyDeadLetters, match=r"one no_good \(\d+\).*Nothing is lost"):
        await asyncio.wait_for(stopped.run(asyncio.Event()), 20)
    ready, report = stopped.health.report()
    assert (ready, "GUIDEVANE_DEAD_LETTER_SHARE" in str(report["reasons"])) == (False, True)
    assert dict(stopped.metrics.drain(0)["gauges"])[f"{names.STOPPED}|reason=dead_letters"] == 1
    letters = len(log.records("p.dlq"))
    assert 0 < letters < 60, "most of them are not written"
    place = next(iter(log.groups["g"].places.values()))
    assert place.offset == 40 + letters == len(log.records("p.out")) + letters, "the commit holds at the prefix"
    await until_all_are_answered(log, worker(log, mended=True), 340)
    origins = [int(r.header(ORIGIN)) for r in log.records("p.out") + log.records("p.dlq")]
    assert sorted(origins) == list(range(340))
    assert len(log.records("p.dlq")) == letters


async def test_while_it_lingers_it_is_not_ready_for_a_reason_and_consumes_nothing():
    log = MemoryLog()
    await produce(log, [b"bad"] * 100)
    made = worker(log, limits=replace(LIMITS, linger_s=60.0))
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    async with asyncio.timeout(10):
        while "dead letters" not in str(made.health.report()):
            await asyncio.sleep(0.001)
    assert not running.done()
    assert not log.groups["g"].members, "others may take the partitions"
    stop.set()
    with pytest.raises(TooManyDeadLetters):
        await asyncio.wait_for(running, 10)


async def test_a_limit_of_one_is_none():
    log = MemoryLog()
    await produce(log, [b"bad"] * 300)
    limits = replace(LIMITS, dead_letters=DeadLetterLimit(share=1.0, window=50, least=20))
    await until_all_are_answered(log, worker(log, limits=limits), 300)
    assert len(log.records("p.dlq")) == 300


@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_events_that_another_worker_took_half_the_way_count_as_seen_where_the_next_stage_handles_them(share):
    log = MemoryLog()
    await produce(log, [b"bad %d" % i for i in range(60)])
    await until_all_are_answered(log, worker(log, mended=True), 60)
    # The group of fused rooms has no place yet: it reads all that the first stage has answered.
    log.groups.clear()
    clock = SystemClock()
    fused = Worker(
        [stage(mended=True), replace(stage(mended=False), name="two", input="p.out", output="p.last", first=False)],
        log=log, dlq="p.dlq", group="g", instance="i", clock=clock, metrics=Metrics("p", "test", "i"),
        health=Health(clock), limits=replace(LIMITS, dead_letters=DeadLetterLimit(share, window=100, least=20)),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(fused.run(stop))
    async with asyncio.timeout(20):
        while not running.done() and len(log.records("p.dlq")) < 60:
            await asyncio.sleep(0.001)
    stop.set()
    if share == 1:
        await running
        assert len(log.records("p.dlq")) == 60
    else:
        with pytest.raises(TooManyDeadLetters, match=r"^(2\d) of the last \1 events"):
            await running


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 60), st.integers(1, 20), st.floats(0, 1))
def test_it_stops_at_the_first_event_at_which_too_many_of_the_window_died_and_never_else(deaths, window, least, share):
    limit = DeadLetterLimit(share, window, least)
    tally = Tally(limit)
    for number, dies in enumerate(deaths):
        last = deaths[max(0, number + 1 - window) : number + 1]
        if dies and sum(last) >= least and sum(last) > share * len(last):
            with pytest.raises(TooManyDeadLetters):
                tally.note("s", 1, [Reject("c", "")])
            return
        tally.note("s", 1, [Reject("c", "")] if dies else [])
