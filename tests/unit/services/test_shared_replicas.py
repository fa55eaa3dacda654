"""Members that share their replicas: one call for all who are asked at once, and each hears only what is its own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from guidevane.pipelines.employment import pipeline
from guidevane.services.inference import deployment
from guidevane.services.inference.deployment import ServedMembers
from guidevane.services.inference.expecting import Expecting
from guidevane.services.inference.members import MemberDied, MemberFailed
from guidevane.services.inference.placing import Placing
from guidevane.services.inference.replica import Said
from guidevane.services.inference.triage import Knobs

MATRIX = np.zeros((2, pipeline.vector.width), dtype=np.float32)


class Handle:
    """What Serve gives a caller of one deployment, without a cluster: each call is noted, and answered when told."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, tuple[str, ...]]] = []
        self.cancelled = 0
        self.pressed = False
        self.failing: frozenset[str] = frozenset()
        self.ends: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.predict = self

    async def remote(self, matrix, names, *, pressed):
        self.pressed = pressed
        self.calls.append((len(matrix), names))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.ends is not None:
            raise self.ends
        return [
            Said(None, "1", 0.1, f"{name}: no") if name in self.failing else Said(np.full(len(matrix), 0.5), "1", 0.1)
            for name in names
        ]


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    made = Handle()
    monkeypatch.setattr(deployment.serve, "get_deployment_handle", lambda *_, **__: made)
    return made


async def ask_all(members: ServedMembers, matrix=MATRIX):
    return await asyncio.gather(*(members.ask(n, matrix) for n in pipeline.ensemble.names), return_exceptions=True)


async def test_given_three_who_ask_about_one_matrix_then_there_is_one_call(handle: Handle):
    members = ServedMembers(pipeline)
    answers = await ask_all(members)
    assert [answer.scores.tolist() for answer in answers] == [[0.5, 0.5]] * 3
    assert handle.calls == [(2, pipeline.ensemble.names)]
    await ask_all(members)
    assert len(handle.calls) == 2


async def test_given_two_matrices_at_once_then_each_has_its_own_call(handle: Handle):
    members = ServedMembers(pipeline)
    await asyncio.gather(ask_all(members), ask_all(members, np.zeros((7, pipeline.vector.width), dtype=np.float32)))
    assert sorted(rows for rows, _ in handle.calls) == [2, 7]


async def test_given_events_that_go_without_members_then_replicas_are_told(handle: Handle):
    members = ServedMembers(pipeline)
    await ask_all(members)
    assert not handle.pressed
    members.pressed = lambda: True
    await ask_all(members)
    assert handle.pressed


async def test_given_one_that_raises_then_the_others_have_their_answers(handle: Handle):
    handle.failing = frozenset({"deep"})
    answers = dict(zip(pipeline.ensemble.names, await ask_all(ServedMembers(pipeline)), strict=True))
    assert isinstance(answers["deep"], MemberFailed)
    assert [name for name, each in answers.items() if isinstance(each, Exception)] == ["deep"]


async def test_given_a_process_that_ends_then_everybody_learns_it_and_the_next_call_is_another(handle: Handle):
    handle.ends = OSError("connection reset")
    members, retried = ServedMembers(pipeline, (told := []).append), told
    assert {type(each) for each in await ask_all(members)} == {MemberDied}
    assert retried == ["deep"]
    handle.ends = None
    assert not [each for each in await ask_all(members) if isinstance(each, Exception)]


async def test_given_one_who_gives_up_then_the_others_wait_on_and_with_the_last_the_call_ends(handle: Handle):
    handle.go.clear()
    members = ServedMembers(pipeline)
    asking = [asyncio.create_task(members.ask(name, MATRIX)) for name in pipeline.ensemble.names]
    while not handle.calls:
        await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    assert handle.cancelled == 0
    for each in asking[1:]:
        each.cancel()
    await asyncio.wait(asking)
    while not handle.cancelled:
        await asyncio.sleep(0)
    handle.go.set()
    assert not [each for each in await ask_all(members) if isinstance(each, Exception)]


async def test_given_all_who_give_up_before_the_call_is_made_then_the_next_ones_are_answered(handle: Handle):
    members = ServedMembers(pipeline)
    asking = asyncio.create_task(members.ask("deep", MATRIX))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert not [each for each in await ask_all(members) if isinstance(each, Exception)]


async def test_given_a_room_that_attends_and_replicas_that_are_counted_then_what_waits_goes_as_one_batch(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
):
    counted: Placing[str] = Placing()
    counted.place(("deep", 0), ["only"])
    monkeypatch.setattr(deployment, "PLACING", counted)
    members = ServedMembers(pipeline)
    room = SimpleNamespace(pressed=lambda: False, knobs=Knobs(max_batch=4), expecting=Expecting(pipeline.ensemble))
    members.attend(room)
    await members.ask("deep", MATRIX)
    handle.go.clear()
    asking = [asyncio.create_task(members.ask("deep", MATRIX.copy())) for _ in range(5)]
    while len(handle.calls) < 3:
        await asyncio.sleep(0)
    handle.go.set()
    await asyncio.gather(*asking)
    assert [rows for rows, _ in handle.calls] == [2, 2, 2, 4, 2]
    assert room.expecting.replicas("deep") == 1
