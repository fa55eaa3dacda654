"""The judge, without a cluster: what Ray does slowly must not stop the room."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from ray.exceptions import RayError

from guidevane.errors import Retryable
from guidevane.pipelines.employment import pipeline
from guidevane.services.inference import judge

MATRIX = np.zeros((2, pipeline.vector.width), dtype=np.float32)


class Copy:
    """An actor that answers at once."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.asked = 0
        self.describe = self.predict = self

    async def remote(self, *_):
        self.asked += 1
        if self.broken:
            raise RayError("the cluster is gone")


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Copy]:
    gone: list[Copy] = []
    monkeypatch.setattr(judge, "_kill", gone.append)
    return gone


def held(copy: Copy, until: threading.Event):
    """Return what waits, as Ray does, before it gives the copy."""

    def asked_for(_):
        assert until.wait(20)
        return copy

    return asked_for


async def test_given_a_cluster_that_lets_the_call_wait_then_the_loop_goes_round(monkeypatch, killed):
    # Whoever waited for this in the loop would never set it.
    seen, copy = threading.Event(), Copy()
    monkeypatch.setattr(judge, "_asked_for", held(copy, seen))
    asking = asyncio.create_task(judge.RayJudge(pipeline).culprits("deep", MATRIX))
    await asyncio.sleep(0)
    seen.set()
    assert await asking == {}
    assert (copy.asked, killed) == (1 + len(MATRIX), [])


async def test_given_a_copy_that_comes_too_late_then_it_is_ended(monkeypatch, killed):
    late, copy = threading.Event(), Copy()
    monkeypatch.setattr(judge, "_asked_for", held(copy, late))
    monkeypatch.setattr(judge, "_START_WITHIN_S", 0.05)
    with pytest.raises(Retryable, match="no copy of deep"):
        await judge.RayJudge(pipeline).culprits("deep", MATRIX)
    assert killed == []
    late.set()
    async with asyncio.timeout(20):
        while killed != [copy]:
            await asyncio.sleep(0.001)


async def test_given_a_copy_that_does_not_answer_then_it_is_ended(monkeypatch, killed):
    copy = Copy(broken=True)
    monkeypatch.setattr(judge, "_asked_for", lambda _: copy)
    with pytest.raises(Retryable, match="the cluster is gone"):
        await judge.RayJudge(pipeline).culprits("deep", MATRIX)
    async with asyncio.timeout(20):
        while killed != [copy]:
            await asyncio.sleep(0.001)
