"""The transactional mode's promise: outcomes and places are seen together, and no second outcome is seen, ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.clock import SystemClock
from guidevane.errors import Fenced, Reject, Retryable
from guidevane.log import Committed, Fetch, Message, Partition
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import STAGE, reasons
from guidevane.runtime.retry import Backoff
from guidevane.runtime.stage import ORIGIN, Stage
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

PARTITIONS = 2
FAST = Limits(
    fetch=Fetch(max_records=7), poll_s=0.002, commit_every_s=0.0, transact_every_s=0.0, drain_s=2.0, gather_s=0.0005,
    backoff=Backoff(0.0005, 0.001),
)  # fmt: skip


class Crash(BaseException):
    """As kill -9: nothing of the process runs on."""


def worker(log: MemoryLog, stages: Sequence[Stage], *, instance: str = "i", mode: str = "transactional") -> Worker:
    clock = SystemClock()
    return Worker(
        stages, log=log, dlq="p.dlq", group="g", instance=instance, clock=clock,
        metrics=Metrics("p", "test", instance), health=Health(clock), limits=FAST, mode=mode,
    )  # fmt: skip


def marking(name: str, source: str, target: str, *, first: bool = False, concurrency: int = 1) -> Stage:
    async def handle(records):
        await asyncio.sleep(0)
        return [
            Reject("poison", "no good") if b"poison" in r.value else Message(r.key, r.value + name.encode())
            for r in records
        ]

    return Stage(name=name, input=source, output=target, handle=handle, first=first, concurrency=concurrency)


def fused() -> list[Stage]:
    return [
        marking("one", "p.events", "p.mid", first=True, concurrency=2),
        marking("two", "p.mid", "p.next", concurrency=3),
        marking("three", "p.next", "p.out"),
    ]


async def produce(log: MemoryLog, values: Sequence[bytes]) -> None:
    for i, value in enumerate(values):
        await log.append("p.events", i % PARTITIONS, [Message(b"k%d" % (i % PARTITIONS), value)])


def place(log: MemoryLog, number: int) -> int:
    places = log.group("g").places
    return places.get(Partition("p.events", number), Committed(0)).offset


def done(log: MemoryLog, count: int) -> Callable[[], bool]:
    return lambda: sum(place(log, n) for n in range(PARTITIONS)) >= count


def check_places_and_outcomes_agree(log: MemoryLog, stages: Sequence[Stage], *, exactly: bool = True) -> None:
    """At this moment, whatever it is: each event before the place has one outcome that is seen, no other has any."""
    for number in range(PARTITIONS):
        dead: list[int] = []
        for stage in stages:
            dead += [
                int(r.header(ORIGIN))
                for r in log.topic("p.dlq")[number].committed()
                if r.header(STAGE) == stage.name.encode()
            ]
            seen = [int(r.header(ORIGIN)) for r in log.topic(stage.output)[number].committed()]
            assert seen == sorted(seen), "the order of a partition is kept"
            assert max(Counter(seen + dead).values(), default=1) == 1, "no second outcome is seen"
            if exactly:
                assert sorted(seen + dead) == list(range(place(log, number))), "outcomes and places are seen together"


class Saboteur:
    """Breaks chosen steps of whoever writes: before they happen, or after they happened and before anyone knows."""

    def __init__(self, log: MemoryLog, stages: Sequence[Stage], plan: dict[int, str], *, exactly: bool = True) -> None:
        self.plan, self.count, self.dead, self.exactly = plan, 0, False, exactly
        self.log, self.stages = log, stages
        for step in ("append", "end", "initialise"):
            setattr(log, step, self.sabotaged(getattr(log, step)))

    def sabotaged(self, step):
        async def broken(*given, **named):
            if self.dead:
                raise Crash
            self.count += 1
            fault = self.plan.get(self.count, "")
            if fault.endswith("before"):
                self.fail(fault)
            result = await step(*given, **named)
            check_places_and_outcomes_agree(self.log, self.stages, exactly=self.exactly)
            if fault.endswith("after"):
                self.fail(fault)
            return result

        return broken

    def fail(self, fault: str) -> None:
        if fault.startswith("crash"):
            self.dead = True
            raise Crash
        raise Retryable(f"no answer: {fault}")


async def run_until(make: Callable[[], Worker], finished: Callable[[], bool], log: MemoryLog, saboteur=None) -> None:
    """Run workers one after another, each until it crashes or all is done; then drain the last."""
    async with asyncio.timeout(30):
        while True:
            if saboteur is not None:
                saboteur.dead = False
            stop = asyncio.Event()
            life = asyncio.create_task(make().run(stop))
            while not life.done() and not finished():
                await asyncio.sleep(0.001)
            if life.done() and not isinstance(life.exception(), Crash):
                life.result()
            if finished():
                stop.set()
                await asyncio.gather(life, return_exceptions=True)
                return
            for member in list(log.group("g").members):
                log.group("g").evict(member)


counts = st.integers(1, 60)
poisons = st.sets(st.integers(0, 59), max_size=5)
faults = st.dictionaries(
    st.integers(1, 60), st.sampled_from(["crash before", "crash after", "timeout before", "timeout after"]), max_size=12
)


@given(counts, faults, poisons)
def test_no_crash_anywhere_shows_a_second_outcome_or_an_outcome_without_its_place(count, plan, poison):
    async def scenario():
        log, stages = MemoryLog(PARTITIONS), fused()
        await produce(log, [b"poison" if i in poison else b"e%d" % i for i in range(count)])
        saboteur = Saboteur(log, stages, plan)
        await run_until(lambda: worker(log, stages), done(log, count), log, saboteur)
        check_places_and_outcomes_agree(log, stages)
        assert sum(place(log, n) for n in range(PARTITIONS)) == count, "nothing is lost"
        assert all(r.value.endswith(b"onetwothree") for r in log.records("p.out"))

    asyncio.run(scenario())


@given(counts, st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_zombies_that_go_on_working_show_nothing(count, evictions):
    # Members are thrown out of the group and never told: they hold their partitions for theirs and go on.
    async def scenario():
        log, stages = MemoryLog(PARTITIONS), fused()
        steps = [0]
        inner = log.append

        async def append(*given, **named):
            steps[0] += 1
            result = await inner(*given, **named)
            check_places_and_outcomes_agree(log, stages)
            return result

        log.append = append
        await produce(log, [b"e%d" % i for i in range(count)])
        stop = asyncio.Event()
        lives = [asyncio.create_task(worker(log, stages, instance="i-0").run(stop))]
        plan = [sum(evictions[: i + 1]) + steps[0] for i in range(len(evictions))]
        async with asyncio.timeout(30):
            while not done(log, count)():
                if plan and steps[0] >= plan[0] and log.group("g").members:
                    plan.pop(0)
                    log.group("g").evict(log.group("g").members[0])
                    lives.append(asyncio.create_task(worker(log, stages, instance=f"i-{len(lives)}").run(stop)))
                await asyncio.sleep(0)
            stop.set()
            await asyncio.gather(*lives)
        check_places_and_outcomes_agree(log, stages)
        assert sum(place(log, n) for n in range(PARTITIONS)) == count

    asyncio.run(scenario())


@given(st.lists(st.sampled_from(["effective", "transactional"]), min_size=2, max_size=4), faults)
def test_the_mode_can_be_changed_between_two_starts(modes, plan):
    async def scenario():
        log, stages = MemoryLog(PARTITIONS), fused()
        # In the effective mode outcomes may be ahead of their places, until the next start.
        saboteur = Saboteur(log, stages, plan, exactly=False)
        for i, mode in enumerate(modes):
            for number in range(10):
                await MemoryLog.append(log, "p.events", number % PARTITIONS, [Message(b"k", b"e")])
            make = partial(worker, log, stages, mode=mode)
            await run_until(make, done(log, 10 * (i + 1)), log, saboteur)
            check_places_and_outcomes_agree(log, stages)

    asyncio.run(scenario())


async def test_a_zombie_learns_that_it_was_fenced_and_lets_the_owner_go_on():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")])
    handling, wake = asyncio.Event(), asyncio.Event()

    async def handle(records):
        handling.set()
        await wake.wait()
        return [Message(None, b"the zombie's") for _ in records]

    zombie = worker(log, [Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)], instance="z")
    stop = asyncio.Event()
    life = asyncio.create_task(zombie.run(stop))
    async with asyncio.timeout(10):
        await handling.wait()
        log.group("g").evict(log.group("g").members[0])
        owner = asyncio.create_task(worker(log, [marking("one", "p.events", "p.out", first=True)]).run(stop))
        while place(log, 0) < 1:
            await asyncio.sleep(0.001)
        wake.set()
        while not zombie.metrics.standing("guidevane_fenced_total"):
            await asyncio.sleep(0.001)
        stop.set()
        await asyncio.gather(life, owner)
    assert [r.value for r in log.records("p.out")] == [b"eone"]


async def test_a_bug_is_traced_to_its_event_within_the_transaction():
    log = MemoryLog(PARTITIONS)
    await produce(log, [b"bad" if i == 11 else b"e%d" % i for i in range(30)])

    async def handle(records):
        if any(r.value == b"bad" for r in records):
            raise ZeroDivisionError("a bug")
        return [Message(r.key, r.value) for r in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    await run_until(lambda: worker(log, [stage]), done(log, 30), log)
    assert [reasons(r)["exception.class"] for r in log.records("p.dlq")] == ["bug"]
    check_places_and_outcomes_agree(log, [stage])


async def test_what_is_answered_by_nothing_moves_its_place_all_the_same():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e")] * 3)

    async def handle(records):
        return [None for _ in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True)
    await run_until(lambda: worker(log, [stage]), lambda: place(log, 0) == 3, log)
    assert log.records("p.out") == []


async def test_draining_commits_what_is_finished_and_leaves_the_rest_to_the_next():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(None, b"e%d" % i) for i in range(14)])
    held, gate = asyncio.Event(), asyncio.Event()

    async def handle(records):
        if records[0].offset:
            held.set()
            await gate.wait()
        return [Message(None, r.value) for r in records]

    stage = Stage(name="one", input="p.events", output="p.out", handle=handle, first=True, concurrency=2)
    stop = asyncio.Event()
    limits = Limits(fetch=Fetch(max_records=7), poll_s=0.002, transact_every_s=0.0, drain_s=0.05, gather_s=0.0005)
    leaving = worker(log, [stage])
    leaving.limits = limits
    life = asyncio.create_task(leaving.run(stop))
    async with asyncio.timeout(10):
        await held.wait()
        stop.set()
        await life
    assert (place(log, 0), len(log.records("p.out"))) == (7, 7)
    gate.set()
    await run_until(lambda: worker(log, [stage]), lambda: place(log, 0) == 14, log)
    assert [r.value for r in log.records("p.out")] == [b"e%d" % i for i in range(14)]


async def test_a_stage_recalls_as_much_as_it_asked_for_across_the_gaps_that_transactions_leave():
    log = MemoryLog(1)
    told: list[int] = []
    stage = marking("one", "p.events", "p.out", first=True)
    recalling = Stage(
        name="one", input="p.events", output="p.out", handle=stage.handle, first=True,
        recall=lambda _, records: told.append(len(records)), recall_records=20,
    )  # fmt: skip
    for i in range(40):
        await log.append("p.events", 0, [Message(None, b"e")])
        if i % 2 == 0:
            await run_until(lambda: worker(log, [stage]), lambda i=i: place(log, 0) == i + 1, log)
    assert len(log.topic("p.out")[0]) > 40, "markers stand between the records"
    await run_until(lambda: worker(log, [recalling]), lambda: place(log, 0) == 40, log)
    assert told == [20]


async def test_two_holders_of_one_id_cannot_both_write():
    log = MemoryLog(1)
    first = await log.transactions("g-p.events-0", name="a")
    await log.transactions("g-p.events-0", name="b")
    await first.begin()
    with pytest.raises(Fenced, match=r"g-p.events-0 is held by another"):
        await first.send("p.out", 0, [Message(None, b"x")])
