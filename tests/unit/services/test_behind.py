"""Given how long the log takes, then members are waited for so long that who gives one up still answers in time."""

from __future__ import annotations

import asyncio
import random
import statistics
from dataclasses import replace

import pytest
from tests.unit.runtime.test_settling import Log, until
from tests.unit.runtime.test_worker import upper, worker

from guidevane.log import Message
from guidevane.services.inference.behind import Behind
from guidevane.services.inference.service import Patience
from guidevane.services.inference.triage import Knobs


@pytest.mark.parametrize(("rooms", "most_s"), [(0, 0.03), (1, 0.05)])
def test_what_is_behind_is_what_was_told_and_a_write_for_each_room(rooms, most_s):
    behind = Behind(Knobs(behind_s=0.01), slo_s=2.0, rooms=rooms)
    assert behind.s == pytest.approx(0.01)
    for _ in range(100):
        behind.learn(0.02)
    assert behind.s == pytest.approx(most_s, rel=1e-3)


def test_slow_writes_are_believed_sooner_than_quick_ones_and_a_log_that_stands_leaves_members_their_time():
    behind = Behind(Knobs(behind_s=0.0), slo_s=0.5)
    draws = random.Random(1)
    believed_s = []
    for _ in range(20_000):
        behind.learn(draws.uniform(0.0, 0.1))
        believed_s.append(behind.s)
    assert statistics.mean(believed_s) == pytest.approx(0.076, abs=0.002)
    for _ in range(100):
        behind.learn(30.0)
    assert behind.s == pytest.approx(0.1)


def test_nobody_is_waited_for_past_the_moment_in_which_an_answer_is_in_time():
    patience = Patience(least_s=0.05, late_s=2.0)
    assert patience.wait_s(0.5, 0.1) == pytest.approx(0.4)
    # There may be no time, and there is some: whoever answers at once is heard. Who is late already loses nothing more.
    assert [patience.wait_s(left_s, 0.1) for left_s in (0.12, 0.01, 0.0, -1.0)] == [0.05, 0.05, 2.0, 2.0]


async def test_a_stage_is_told_how_long_the_log_took_for_what_the_last_one_answered():
    log, told = Log(), []
    stages = [upper("one", "p.events", "p.mid", first=True), upper("two", "p.mid", "p.out")]
    room = worker(log, [replace(stages[0], on_durable=told.append), stages[1]])
    stop = asyncio.Event()
    life = asyncio.create_task(room.run(stop))
    log.answers.clear()
    await log.append("p.events", 0, [Message(None, b"e")])
    await until(room.holding.awaited)
    await asyncio.sleep(0.05)
    assert not told
    log.answers.set()
    await until(lambda: told)
    stop.set()
    await life
    assert len(told) == 1 and told[0] >= 0.05
