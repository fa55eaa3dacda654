"""An event that breaks a member costs that event: raised, NaN, a wrong shape, a hang, a death; alone and in crowds."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.clock import SystemClock
from guidevane.errors import Retryable
from guidevane.runtime.retry import Backoff
from guidevane.services.inference.guard import Guard
from guidevane.services.inference.members import Answer, Blame, MemberDied, MemberFailed

RAISES, NAN, DIES, HANGS, LOGIT = 13.0, 14.0, 15.0, 16.0, 17_000.0
KINDS = {RAISES: "model_failed", NAN: "model_failed", LOGIT: "model_failed", DIES: "model_died", HANGS: "model_hung"}
STUCK_S = 0.05


class Replica:
    """One process that serves: what ends it takes every call that waits there along, and it is back after a while."""

    def __init__(self, *, replicas: int = 1, poison: bool = True) -> None:
        self.replicas, self.poison, self.deaths, self.calls = replicas, poison, 0, 0
        self.up = asyncio.Event()
        self.up.set()
        self.broken = False
        self.slow_s = self.busy_s = 0.0

    async def ask(self, member: str, matrix: np.ndarray) -> Answer:
        self.calls += 1
        await self.up.wait()
        await asyncio.sleep(self.slow_s)
        if self.broken:
            raise MemberFailed("m: broken")
        if (matrix == DIES).any():
            self.deaths += 1
            if self.deaths >= self.replicas:
                self.up.clear()
                asyncio.get_running_loop().call_later(0.03, self.up.set)
            raise MemberDied("m died")
        if (matrix == HANGS).any():
            self.up.clear()
            asyncio.get_running_loop().call_later(STUCK_S * 2, self.up.set)
            await asyncio.Event().wait()
        if (matrix == RAISES).any():
            raise MemberFailed("m: cannot stand 13")
        scores = np.where(matrix[:, 0] == NAN, np.nan, matrix[:, 0] / 1000)
        return Answer(scores, "1", self.busy_s)


class Judge:
    async def culprits(self, member: str, matrix: np.ndarray) -> dict[int, Blame]:
        return {
            row: Blame(KINDS[value], f"{member}: {value}")
            for row, value in enumerate(matrix[:, 0].tolist())
            if value in {DIES, HANGS}
        }


class NoJudge:
    async def culprits(self, member: str, matrix: np.ndarray) -> dict[int, Blame]:
        raise Retryable("no room for a copy")


def guard(replica: Replica, judge=None) -> Guard:
    return Guard(replica, {"m": STUCK_S}, clock=SystemClock(), judge=judge or Judge(), backoff=Backoff(0.001, 0.005))


def rows(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1)


@settings(max_examples=15)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 1.0, 2.0, RAISES, NAN, DIES, HANGS, LOGIT]), min_size=1, max_size=24))
def test_whatever_breaks_a_member_is_told_apart_from_what_does_not(values):
    async def scenario():
        asked = guard(Replica())
        heard = await asked.ask("m", rows(*values), 0.01)
        guilty = {row: KINDS[v] for row, v in enumerate(values) if v in KINDS}
        assert {row: why.cause for row, why in heard.reasons.items()} == guilty
        assert heard.missing is None
        for row, value in enumerate(values):
            if row not in guilty:
                assert heard.answer.scores[row] == pytest.approx(value / 1000)

    asyncio.run(scenario())


async def test_a_killer_costs_two_replicas_at_most_and_is_not_asked_again():
    replica = Replica(replicas=3)
    asked = guard(replica)
    heard = await asked.ask("m", rows(1, 2, DIES, 3), 0.05)
    assert heard.reasons.keys() == {2}
    assert replica.deaths == 2


async def test_while_a_member_is_away_others_are_not_held_up():
    replica = Replica()
    asked = guard(replica)
    replica.up.clear()
    first = asyncio.create_task(asked.ask("m", rows(1, 2), 0.001))
    async with asyncio.timeout(5):
        while asked._watches["m"].here.is_set():
            await asyncio.sleep(0.001)
    calls = replica.calls
    assert (await asked.ask("m", rows(3), 10.0)).missing == "skipped"
    assert replica.calls == calls
    replica.up.set()
    assert (await first).answer.scores.tolist() == pytest.approx([0.001, 0.002])
    async with asyncio.timeout(5):
        await asked._watches["m"].here.wait()
    assert (await asked.ask("m", rows(3), 1.0)).missing is None


async def test_who_is_slow_and_goes_on_answering_is_late_and_nobody_is_judged():
    class Queue(Replica):
        turn = asyncio.Lock()

        async def ask(self, member, matrix):
            async with self.turn:
                return await super().ask(member, matrix)

    replica = Queue()
    replica.slow_s = 0.02
    asked = guard(replica, NoJudge())
    heard = await asyncio.gather(*(asked.ask("m", rows(1), 0.03) for _ in range(8)))
    assert {each.missing for each in heard} == {None, "late"}
    assert asked._watches["m"].here.is_set()


async def test_who_is_always_slow_is_waited_for_once_and_then_no_longer_than_the_deadline():
    replica = Replica()
    asked = Guard(replica, {"m": 5.0}, clock=SystemClock(), judge=NoJudge())
    replica.slow_s = replica.busy_s = 0.2
    assert (await asked.ask("m", rows(1), 0.01)).missing is None
    heard = await asyncio.gather(*(asked.ask("m", rows(1), 0.01) for _ in range(4)))
    assert [each.missing for each in heard] == ["late"] * 4
    assert asked._watches["m"].here.is_set()


async def test_a_hang_after_others_were_answered_is_found_and_every_batch_behind_it_is_answered():
    class Queue(Replica):
        turn = asyncio.Lock()

        async def ask(self, member, matrix):
            async with self.turn:
                return await super().ask(member, matrix)

    asked = guard(Queue())
    batches = [rows(1, RAISES), rows(2), rows(HANGS, 3), rows(4, NAN)]
    heard = await asyncio.gather(*(asked.ask("m", batch, 0.02) for batch in batches))
    assert [[why.cause for why in each.reasons.values()] for each in heard] == [
        ["model_failed"], [], ["model_hung"], ["model_failed"],
    ]  # fmt: skip


async def test_where_no_judge_can_be_had_the_batch_is_decided_without_the_member():
    asked = guard(Replica(), NoJudge())
    heard = await asked.ask("m", rows(1, DIES), 0.01)
    assert (heard.missing, heard.reasons, heard.answer) == ("away", {}, None)


async def test_a_member_that_breaks_on_everything_is_broken_and_no_event_is_to_blame():
    replica = Replica()
    asked = guard(replica)
    await asked.ask("m", rows(1), 1.0)
    replica.broken, replica.calls = True, 0
    heard = await asked.ask("m", rows(*range(64)), 1.0)
    assert heard.missing == "broken"
    assert replica.calls == 2, "it is not halved down to every single event"


async def test_a_fault_that_takes_a_replica_is_hidden_where_another_answers():
    class Once(Replica):
        async def ask(self, member, matrix):
            if not self.deaths:
                self.deaths += 1
                raise MemberDied("killed from outside")
            return await super().ask(member, matrix)

    heard = await guard(Once(), NoJudge()).ask("m", rows(1, 2), 1.0)
    assert heard.answer.scores.tolist() == pytest.approx([0.001, 0.002])


async def test_a_score_that_is_no_probability_is_told_with_its_value_and_never_joined():
    heard = await guard(Replica()).ask("m", rows(1, LOGIT, 2), 1.0)
    assert heard.reasons == {1: Blame("model_failed", "m: its score is 17, no probability: return 0 to 1")}
    assert np.isnan(heard.answer.scores).tolist() == [False, True, False]


async def test_a_member_that_has_never_said_a_probability_is_broken_which_is_logged_once(caplog):
    class Logits(Replica):
        shift = 3.0

        async def ask(self, member, matrix):
            return Answer(matrix[:, 0] / 1000 + self.shift, "1", 0.0)

    replica = Logits()
    asked = guard(replica)
    for _ in range(3):
        heard = await asked.ask("m", rows(1, 2), 1.0)
        assert (heard.missing, np.isnan(heard.answer.scores).all()) == ("broken", True)
    assert caplog.text.count("m is broken, and every decision goes without it: m: its score is 3.001") == 1
    replica.shift = 0.0
    assert (await asked.ask("m", rows(1, 2), 1.0)).missing is None
    assert caplog.text.count("m is no longer broken") == 1
