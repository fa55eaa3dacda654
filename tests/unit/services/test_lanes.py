"""Given calls for one deployment, then as many leave at once as keep its replicas busy, and the others go together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np

from guidevane.services.inference.lanes import Lane
from guidevane.services.inference.members import MemberDied, MemberFailed
from guidevane.services.inference.replica import Said
from guidevane.testing import ManualClock


class Replicas:
    """Answers each row with itself, when told to go on; notes each call. A row of -1 is one that breaks the member."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.calls: list[list[float]] = []
        self.go = asyncio.Event()
        self.ends: Exception | None = None
        self.cancelled = 0
        self.count(1)

    def count(self, replicas: int) -> None:
        self.lane = Lane(self.call, self.clock, lambda: replicas)
        self.lane.most = lambda: 4

    async def call(self, names: tuple[str, ...], matrix: np.ndarray) -> Mapping[str, Said]:
        rows = matrix[:, 0].tolist()
        self.calls.append(rows)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.ends is not None:
            raise self.ends
        broken = Said(None, "1", 0.5, "no") if -1.0 in rows else None
        return {name: broken or Said(matrix[:, 0].astype(float), "1", 0.5) for name in names}

    async def warm(self) -> None:
        """Have one call answered: how long members take is known then."""
        self.go.set()
        await self.lane.ask("deep", matrix(0))
        self.calls.clear()
        self.go.clear()

    def asking(self, *rows: int, member: str = "deep") -> list[asyncio.Task]:
        return [asyncio.create_task(self.lane.ask(member, matrix(row))) for row in rows]

    async def called(self, calls: int) -> None:
        while len(self.calls) < calls:
            await asyncio.sleep(0)


def matrix(*rows: int) -> np.ndarray:
    return np.array([[row, row] for row in rows], dtype=np.float32)


async def test_given_a_replica_that_is_busy_then_what_comes_goes_together_and_each_gets_its_own_rows():
    replicas = Replicas()
    await replicas.warm()
    asking = replicas.asking(1, 2, 3, 4, 5, 6, 7)
    await replicas.called(2)
    for _ in range(9):
        await asyncio.sleep(0)
    # One is computed, and one is ready to be.
    assert replicas.calls == [[1], [2]]
    replicas.go.set()

    answers = await asyncio.gather(*asking)

    assert replicas.calls == [[1], [2], [3, 4, 5, 6], [7]]
    assert [each.scores.tolist() for each in answers] == [[1], [2], [3], [4], [5], [6], [7]]
    # The time of a batch is told once for each, and counts once.
    assert [(each.computed, each.rode_along) for each in answers[2:6]] == [(4, False)] + [(4, True)] * 3


async def test_given_replicas_that_nobody_has_counted_then_nothing_waits():
    replicas = Replicas()
    replicas.count(0)
    await replicas.warm()
    asking = replicas.asking(1, 2, 3)
    await replicas.called(3)
    replicas.go.set()
    await asyncio.gather(*asking)
    assert replicas.calls == [[1], [2], [3]]


async def test_given_a_row_that_breaks_the_member_then_only_who_asked_about_it_is_told():
    replicas = Replicas()
    await replicas.warm()
    asking = replicas.asking(0, 1, 2, -1, 3)
    await replicas.called(2)
    replicas.go.set()

    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(each) for each in answers].count(MemberFailed) == 1
    assert isinstance(answers[3], MemberFailed)
    assert [answers[place].scores.tolist() for place in (0, 1, 2, 4)] == [[0], [1], [2], [3]]
    assert replicas.calls == [[0], [1], [2, -1, 3], [2], [-1], [3]]


async def test_given_a_process_that_ends_then_all_who_asked_learn_it_and_the_next_call_is_made():
    replicas = Replicas()
    await replicas.warm()
    asking = replicas.asking(1, 2, 3, 4)
    await replicas.called(2)
    replicas.ends = MemberDied("gone")
    replicas.go.set()
    assert {type(each) for each in await asyncio.gather(*asking, return_exceptions=True)} == {MemberDied}
    replicas.ends = None
    assert (await replicas.lane.ask("deep", matrix(7))).scores.tolist() == [7]


async def test_given_who_gives_up_then_its_rows_are_not_computed_and_the_call_that_nobody_waits_for_ends():
    replicas = Replicas()
    await replicas.warm()
    first, _, second, third = asking = replicas.asking(1, 2, 3, 4)
    await replicas.called(2)
    for _ in range(9):
        await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await replicas.called(3)
    replicas.go.set()
    assert (await third).scores.tolist() == [4]
    assert (replicas.calls, replicas.cancelled) == ([[1], [2], [4]], 1)
    await asyncio.wait(asking)
    assert [each.cancelled() for each in asking] == [True, False, True, False]


async def test_given_calls_about_other_members_then_they_do_not_go_together():
    replicas = Replicas()
    await replicas.warm()
    asking = [*replicas.asking(1, 2, 3), *replicas.asking(4, 5, member="wide")]
    await replicas.called(2)
    replicas.go.set()
    await asyncio.gather(*asking)
    assert replicas.calls == [[1], [2], [3], [4, 5]]
