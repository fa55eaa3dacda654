"""The engine's promise: whatever crashes wherever, every event is answered once, in order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.clock import SystemClock
from guidevane.errors import Misconfigured, Reject, Retryable
from guidevane.log import Fetch, Message, Partition
from guidevane.log.memory import MemoryLog
from guidevane.pipeline import Mode
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.retry import Backoff
from guidevane.runtime.stage import ORIGIN, Stage
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

PARTITIONS = 2
FAST = Limits(
    fetch=Fetch(max_records=7),
    poll_s=0.002,
    commit_every_s=0.0,
    drain_s=2.0,
    gather_s=0.0005,
    backoff=Backoff(0.0005, 0.001),
)


class Crash(BaseException):
    """As kill -9: nothing of the process runs on."""


def worker(log: MemoryLog, stages: Sequence[Stage], limits: Limits = FAST, *, mode: Mode = "effective") -> Worker:
    clock = SystemClock()
    return Worker(
        stages, log=log, dlq="p.dlq", group="g", instance="i", clock=clock,
        metrics=Metrics("p", "test", "i"), health=Health(clock), limits=limits, mode=mode,
    )  # fmt: skip


def upper(name: str, source: str, target: str, *, first: bool = False, concurrency: int = 1) -> Stage:
    async def handle(records):
        await asyncio.sleep(0)
        return [
            Reject("poison", "no good") if b"poison" in r.value else Message(r.key, r.value + name.encode())
            for r in records
        ]

    return Stage(name=name, input=source, output=target, handle=handle, first=first, concurrency=concurrency)


async def produce(log: MemoryLog, values: Sequence[bytes], topic: str = "p.events") -> None:
    for i, value in enumerate(values):
        await log.append(topic, i % PARTITIONS, [Message(b"k%d" % (i % PARTITIONS), value)])


def answered(log: MemoryLog, topic: str) -> int:
    return len(log.records(topic)) + len(log.records("p.dlq"))


async def run_until(
    log: MemoryLog, make: Callable[[], Worker], done: Callable[[], bool], saboteur: Saboteur | None = None
) -> None:
    """Run workers one after another, each until it crashes or all is done; then drain the last."""
    async with asyncio.timeout(20):
        while True:
            if saboteur is not None:
                saboteur.revive()
            stop = asyncio.Event()
            life = asyncio.create_task(make().run(stop))
            while not life.done() and not done():
                await asyncio.sleep(0.001)
            if life.done() and life.exception() is not None and not isinstance(life.exception(), Crash):
                raise life.exception()
            if done():
                stop.set()
                await asyncio.gather(life, return_exceptions=True)
                return
            for group in log.groups.values():
                for member in list(group.members):
                    group.evict(member)


def committed(log: MemoryLog, topic: str = "p.events") -> int:
    places = log.groups["g"].places if "g" in log.groups else {}
    return sum(c.offset for p, c in places.items() if p.topic == topic)


class Saboteur:
    """Breaks chosen appends: before they happen, or after they happened and before anyone knows."""

    def __init__(self, log: MemoryLog, plan: dict[int, str]) -> None:
        self.plan, self.count, self.append, self.dead = plan, 0, log.append, False
        log.append = self.sabotaged

    def revive(self) -> None:
        self.dead = False

    async def sabotaged(self, topic: str, partition: int, messages: Sequence[Message], **more: object) -> int:
        if self.dead:
            raise Crash
        self.count += 1
        match self.plan.get(self.count):
            case "crash before":
                self.dead = True
                raise Crash
            case "crash after":
                await self.append(topic, partition, messages, **more)
                self.dead = True
                raise Crash
            case "timeout before":
                raise Retryable("no answer, and not written")
            case "timeout after":
                await self.append(topic, partition, messages, **more)
                raise Retryable("no answer, but written")
        return await self.append(topic, partition, messages, **more)


faults = st.dictionaries(
    st.integers(1, 40), st.sampled_from(["crash before", "crash after", "timeout before", "timeout after"]), max_size=12
)
counts = st.integers(1, 60)


def check_all_answered_once_in_order(log: MemoryLog, count: int, poison: set[int], last: str) -> None:
    for number in range(PARTITIONS):
        origins = [int(r.header(ORIGIN)) for r in log.topic(last)[number]]
        dead = [int(r.header(ORIGIN)) for r in log.topic("p.dlq")[number]]
        sent = len(log.topic("p.events")[number])
        assert origins == sorted(origins), "the order of a partition is kept"
        assert max(Counter(origins + dead).values(), default=1) == 1, "nothing is answered twice"
        assert sorted(origins + dead) == list(range(sent)), "nothing is lost"
        assert all(log.topic("p.events")[number][o].value.startswith(b"poison") for o in dead)


@given(counts, faults, st.sets(st.integers(0, 59), max_size=5))
def test_no_crash_loses_doubles_or_reorders_an_event(count, plan, poison):
    async def scenario():
        log = MemoryLog(PARTITIONS)
        await produce(log, [b"poison" if i in poison else b"e%d" % i for i in range(count)])
        saboteur = Saboteur(log, plan)
        stages = [upper("one", "p.events", "p.out", first=True, concurrency=2)]
        await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= count, saboteur)
        check_all_answered_once_in_order(log, count, poison, "p.out")

    asyncio.run(scenario())


@given(counts, faults, st.sets(st.integers(0, 59), max_size=5))
def test_fused_stages_keep_the_promise_on_every_topic(count, plan, poison):
    async def scenario():
        log = MemoryLog(PARTITIONS)
        await produce(log, [b"poison" if i in poison else b"e%d" % i for i in range(count)])
        saboteur = Saboteur(log, plan)
        stages = [
            upper("one", "p.events", "p.mid", first=True),
            upper("two", "p.mid", "p.next", concurrency=3),
            upper("three", "p.next", "p.out"),
        ]
        await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= count, saboteur)
        for topic in ("p.mid", "p.next", "p.out"):
            check_all_answered_once_in_order(log, count, poison, topic)
        assert all(r.value.endswith(b"onetwothree") for r in log.records("p.out"))

    asyncio.run(scenario())


@given(counts, faults)
def test_stages_apart_keep_the_promise_too(count, plan):
    async def scenario():
        log = MemoryLog(PARTITIONS)
        await produce(log, [b"e%d" % i for i in range(count)])
        saboteur = Saboteur(log, plan)
        one, two = [upper("one", "p.events", "p.mid", first=True)], [upper("two", "p.mid", "p.out")]
        await run_until(log, lambda: worker(log, one), lambda: committed(log) >= count, saboteur)
        log.groups.clear()
        await run_until(log, lambda: worker(log, two), lambda: committed(log, "p.mid") >= count, saboteur)
        check_all_answered_once_in_order(log, count, set(), "p.out")

    asyncio.run(scenario())


async def test_an_operator_who_resets_the_offsets_gets_nothing_twice():
    log = MemoryLog(PARTITIONS)
    await produce(log, [b"e%d" % i for i in range(20)])
    stages = [upper("one", "p.events", "p.out", first=True)]
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 20)
    log.groups.clear()
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 20)
    check_all_answered_once_in_order(log, 20, set(), "p.out")


async def test_a_bug_is_traced_to_its_event_and_its_innocents_are_delivered():
    log = MemoryLog(PARTITIONS)
    await produce(log, [b"bad" if i == 11 else b"e%d" % i for i in range(30)])
    calls = []

    async def handle(records):
        calls.append(len(records))
        if any(r.value == b"bad" for r in records):
            raise ZeroDivisionError("a bug")
        return [Message(r.key, r.value) for r in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    await run_until(log, lambda: worker(log, [stage]), lambda: committed(log) >= 30)
    letters = log.records("p.dlq")
    assert [reasons(r)["exception.class"] for r in letters] == ["bug"]
    assert reasons(letters[0])["message"] == "ZeroDivisionError: a bug"
    assert letters[0].value == b"bad"
    assert len(log.records("p.out")) == 29


async def test_a_dead_letter_keeps_what_came_untouched_and_says_why():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(b"\xffkey", b"poison\x00\xff", (("app", b"1"), (ORIGIN, b"999")))])
    stages = [upper("one", "p.events", "p.out", first=True)]
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 1)
    (letter,) = log.records("p.dlq")
    assert (letter.key, letter.value) == (b"\xffkey", b"poison\x00\xff")
    assert letter.headers[:2] == (("app", b"1"), (ORIGIN, b"999"))
    assert letter.header(ORIGIN) == b"0"
    why = reasons(letter)
    assert (why["topic"], why["partition"], why["offset"]) == ("p.events", "0", "0")
    assert (why["stage"], why["exception.class"], why["message"]) == ("one", "poison", "no good")


async def test_what_is_retryable_is_tried_again_in_place():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")])
    tries = []

    async def handle(records):
        tries.append(1)
        if len(tries) < 4:
            raise Retryable("not yet")
        return [Message(None, b"done") for _ in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    await run_until(log, lambda: worker(log, [stage]), lambda: committed(log) >= 1)
    assert [r.value for r in log.records("p.out")] == [b"done"]
    assert len(tries) == 4


async def test_patience_ends_in_a_dead_letter():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")])

    async def handle(records):
        raise Retryable("never")

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True, patience_s=0.2)
    await run_until(log, lambda: worker(log, [stage]), lambda: committed(log) >= 1)
    assert [reasons(r)["exception.class"] for r in log.records("p.dlq")] == ["retries_exhausted"]


async def test_given_one_event_that_never_can_be_answered_then_patience_ends_for_it_alone():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, body) for body in (b"a", b"b", b"never", b"c", b"d")])

    async def handle(records):
        if any(record.value == b"never" for record in records):
            raise Retryable("not this one")
        return [Message(None, record.value) for record in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True, patience_s=0.2)
    await run_until(log, lambda: worker(log, [stage]), lambda: committed(log) >= 5)
    assert [r.value for r in log.records("p.out")] == [b"a", b"b", b"c", b"d"]
    assert [r.value for r in log.records("p.dlq")] == [b"never"]


async def test_a_dead_letter_that_cannot_be_written_holds_the_partition_back():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"poison"), Message(None, b"e")])
    refused = []

    def on_send(topic, partition, messages):
        if topic == "p.dlq" and len(refused) < 5:
            refused.append(1)
            raise Retryable("the dead-letter topic is not writable")

    log.on_send = on_send
    stages = [upper("one", "p.events", "p.out", first=True)]
    await run_until(log, lambda: worker(log, stages), lambda: committed(log) >= 2)
    assert len(refused) == 5
    assert len(log.records("p.dlq")) == 1
    assert len(log.records("p.out")) == 1


async def test_a_zombie_that_wakes_up_writes_nothing():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")])
    clock = SystemClock()
    asleep_s = [0.0]

    class Clock:
        now_us = staticmethod(clock.now_us)

        def monotonic_s(self):
            return clock.monotonic_s() + asleep_s[0]

    async def handle(records):
        # The process is stopped here for longer than its session; another owner answers meanwhile.
        if not asleep_s[0]:
            asleep_s[0] = 60.0
            await log.append("p.out", 0, [Message(None, b"the new owner's", ((ORIGIN, b"0"),))])
        return [Message(None, b"the zombie's") for _ in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    made = worker(log, [stage])
    made.clock = made.fence.clock = Clock()
    await run_until(log, lambda: made, lambda: committed(log) >= 1)
    assert [r.value for r in log.records("p.out")] == [b"the new owner's"]


async def test_in_flight_is_bounded_and_flows_on():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"x" * 100)] * 200)
    gate, most = asyncio.Event(), [0]
    fetch = Fetch(max_records=10, max_records_behind=20)
    limits = Limits(fetch=fetch, max_records=30, poll_s=0.002, commit_every_s=0.0)

    async def handle(records):
        await gate.wait()
        return [Message(None, r.value) for r in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    made = worker(log, [stage], limits)
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    async with asyncio.timeout(10):
        while not made.pacing.full:
            most[0] = max(most[0], made.pacing.records)
            await asyncio.sleep(0.001)
        assert made.pacing.records == 30
        gate.set()
        while len(log.records("p.out")) < 200:
            await asyncio.sleep(0.001)
    stop.set()
    await running
    assert committed(log) == 200


async def test_given_a_stage_that_takes_any_number_side_by_side_then_nobody_waits_before_it():
    log = MemoryLog(1)
    go, asked = asyncio.Event(), []

    async def handle(records):
        asked.extend(records)
        await go.wait()
        return [Message(r.key, r.value) for r in records]

    stage = Stage(name="echo", input="p.events", output="p.out", handle=handle, first=True, concurrency=100)
    life = worker(log, [stage], FAST)
    stop = asyncio.Event()
    running = asyncio.create_task(life.run(stop))
    async with asyncio.timeout(20):
        for n in range(12):
            await log.append("p.events", 0, [Message(None, b"%d" % n)])
            while len(asked) <= n:
                await asyncio.sleep(0.001)
    go.set()
    stop.set()
    await running


async def test_given_flights_that_only_wait_to_be_acknowledged_then_the_next_leave_all_the_same():
    log = MemoryLog(1)
    stages = [upper("a", "p.events", "p.mid", first=True), upper("b", "p.mid", "p.out")]
    # What is between fused stages gathers for so long that nothing of it is acknowledged while we look.
    life = worker(log, stages, replace(FAST, gather_s=600.0, drain_s=0.01))
    stop = asyncio.Event()
    running = asyncio.create_task(life.run(stop))
    async with asyncio.timeout(20):
        for n in range(6):
            await log.append("p.events", 0, [Message(None, b"%d" % n)])
            while len(log.records("p.out")) <= n:
                await asyncio.sleep(0.001)
    assert not log.records("p.mid")
    stop.set()
    await running


async def test_draining_finishes_what_is_in_flight_and_commits_it():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")] * 5)
    started, gate = asyncio.Event(), asyncio.Event()

    async def handle(records):
        started.set()
        await gate.wait()
        return [Message(None, r.value) for r in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    stop = asyncio.Event()
    running = asyncio.create_task(worker(log, [stage]).run(stop))
    async with asyncio.timeout(10):
        await started.wait()
        stop.set()
        gate.set()
        await running
    assert committed(log) == len(log.records("p.out")) == 5


async def test_a_handler_that_miscounts_stops_the_room():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")])

    async def handle(records):
        return []

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    with pytest.raises(Misconfigured, match="one gave 0 results for 1 records"):
        await asyncio.wait_for(worker(log, [stage]).run(asyncio.Event()), 10)


def test_stages_that_do_not_meet_are_refused():
    with pytest.raises(Misconfigured, match=r"two reads p\.other, but one writes p\.mid"):
        worker(MemoryLog(), [upper("one", "p.events", "p.mid"), upper("two", "p.other", "p.out")])


async def test_a_rebalance_in_the_middle_keeps_the_promise():
    log = MemoryLog(PARTITIONS)
    stages = [upper("one", "p.events", "p.out", first=True)]
    stops = [asyncio.Event(), asyncio.Event()]
    clock = SystemClock()

    def member(name: str) -> Worker:
        return Worker(
            stages, log=log, dlq="p.dlq", group="g", instance=name, clock=clock,
            metrics=Metrics("p", "test", name), health=Health(clock), limits=FAST,
        )  # fmt: skip

    tasks = [asyncio.create_task(member("a").run(stops[0]))]
    async with asyncio.timeout(20):
        for i in range(300):
            await produce(log, [b"e%d" % i, b"f%d" % i])
            await asyncio.sleep(0)
            if i == 100:
                tasks.append(asyncio.create_task(member("b").run(stops[1])))
            if i == 200:
                stops[0].set()
        while committed(log) < 600:
            await asyncio.sleep(0.002)
    stops[1].set()
    await asyncio.gather(*tasks)
    check_all_answered_once_in_order(log, 600, set(), "p.out")
    assert log.groups["g"].places.keys() == {Partition("p.events", 0), Partition("p.events", 1)}
