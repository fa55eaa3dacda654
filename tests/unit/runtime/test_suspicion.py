"""An event that ends whoever handles it costs a few lives of a room and itself, and nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.test_transactional import (
    PARTITIONS,
    Crash,
    Saboteur,
    check_places_and_outcomes_agree,
    counts,
    done,
    faults,
    poisons,
    produce,
    run_until,
)
from tests.unit.runtime.test_worker import FAST, upper

from guidevane.clock import SystemClock
from guidevane.errors import Reject
from guidevane.log import Partition, Record
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.places import Place
from guidevane.runtime.stage import Stage
from guidevane.runtime.suspicion import Suspicion
from guidevane.runtime.worker import Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

# What is answered is committed some time after, as in life.
LIMITS = replace(FAST, commit_every_s=0.01)


class Trial:
    """Knows killers by their name, and whom it was asked about."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def culprits(self, records: Sequence[Record]) -> dict[int, Reject]:
        self.asked += [record.value for record in records]
        return {
            at: Reject("died", "it ends us") for at, r in enumerate(records) if r.value.startswith(b"poison killer")
        }


def deadly(trial: Trial | None) -> list[Stage]:
    """Return two fused stages, the second of which ends the process at a killer."""
    second = upper("two", "p.mid", "p.out")

    async def handle(records: Sequence[Record]) -> Sequence[object]:
        if any(record.value.startswith(b"poison killer") for record in records):
            raise Crash
        return await second.handle(records)

    passing = upper("one", "p.events", "p.mid", first=True)

    async def passed(records: Sequence[Record]) -> Sequence[object]:
        results = await passing.handle([record._replace(value=b"") for record in records])
        return [result._replace(value=record.value) for result, record in zip(results, records, strict=True)]

    return [replace(passing, handle=passed), replace(second, handle=handle, trial=trial)]


def worker(log: MemoryLog, stages: Sequence[Stage], mode: str = "effective") -> Worker:
    clock = SystemClock()
    return Worker(
        stages, log=log, dlq="p.dlq", group="g", instance="i", clock=clock, metrics=Metrics("p", "test", "i"),
        health=Health(clock), limits=LIMITS, mode=mode,
    )  # fmt: skip


@given(counts, faults, poisons, st.sampled_from(["effective", "transactional"]))
def test_who_ends_every_owner_is_set_aside_whatever_else_crashes(count, plan, killers, mode):
    async def scenario():
        log, trial = MemoryLog(PARTITIONS), Trial()
        stages, exactly = deadly(trial), mode == "transactional"
        values = [b"poison killer" if i in killers else b"e%d" % i for i in range(count)]
        await produce(log, values)
        saboteur = Saboteur(log, stages, plan, exactly=exactly)
        await run_until(lambda: worker(log, stages, mode), done(log, count), log, saboteur)
        check_places_and_outcomes_agree(log, stages)
        letters = log.records("p.dlq")
        assert {(reasons(each)["stage"], reasons(each)["exception.class"]) for each in letters} <= {("two", "died")}
        assert [each.value for each in letters] == [each for each in values if each == b"poison killer"]
        assert len(log.records("p.out")) == count - len(letters)

    asyncio.run(scenario())


async def test_nobody_is_tried_where_owners_drain_before_they_end(caplog):
    log, trial = MemoryLog(PARTITIONS), Trial()
    for sent in (1, 2, 20, 40):
        await produce(log, [b"e"] * (sent - len(log.records("p.events"))))
        await run_until(lambda: worker(log, deadly(trial)), done(log, sent), log)
    assert trial.asked == []
    assert "got no further" not in caplog.text


async def test_owners_that_die_before_they_answer_are_counted_in_the_commits_and_a_second_tries_its_events(caplog):
    log = MemoryLog(PARTITIONS)
    await produce(log, [b"poison killer", b"e1"])
    trial, lives = Trial(), 0

    def another() -> Worker:
        nonlocal lives
        lives += 1
        return worker(log, deadly(trial))

    with caplog.at_level(logging.WARNING):
        await run_until(another, done(log, 2), log)
    assert lives == 2
    assert "1 owners of p.events/0 have begun at offset 0" in caplog.text
    assert "an event is set aside" in caplog.text
    assert {place.note.count("#begun") for place in log.group("g").places.values()} == {0}


async def test_a_stage_without_a_trial_is_answered_and_never_suspected():
    log = MemoryLog(PARTITIONS)
    await produce(log, [b"e%d" % i for i in range(4)])
    worked = worker(log, deadly(None))
    stop = asyncio.Event()
    life = asyncio.create_task(worked.run(stop))
    while not done(log, 4)():
        await asyncio.sleep(0.001)
    stop.set()
    await life
    assert not worked.suspicion.useful


@pytest.mark.parametrize(("began", "left"), [(0, False), (1, True), (3, True)])
def test_only_owners_who_got_no_further_give_reason(began, left):
    suspicion = Suspicion(deadly(Trial()), span=10)
    place = Place(5, begun=began)
    suspicion.taken_over({Partition("p.events", 0): place})
    assert bool(suspicion._left) is left


def test_a_process_that_lives_on_does_not_count_its_own_beginnings():
    suspicion = Suspicion(deadly(Trial()), span=10)
    partition = Partition("p.events", 0)
    place = Place(5)
    suspicion.taken_over({partition: place})
    assert suspicion.unmarked({partition: place}) == {partition: Place(5, begun=1)}
    assert suspicion.unmarked({partition: place}) == {}
    # The broker went away and came back: this process took the partition over again.
    again = Place.of(place.committed())
    suspicion.taken_over({partition: again})
    assert not suspicion._left
    assert again.begun == 0
    # But for another process, somebody has begun here.
    other = Suspicion(deadly(Trial()), span=10)
    other.taken_over({partition: Place.of(place.committed())})
    assert other._left == 10
