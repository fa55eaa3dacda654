"""Given control events from whoever may write there, then a room obeys what can be obeyed, and lives on."""

from __future__ import annotations

import asyncio
import math

import pytest

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.obeying import obey
from guidevane.topics import CONTROL

CODEC = Codec(Catalogue())


def control(epoch: int = 1, **settings: float) -> Message:
    said = {"pipeline": "p", "room": "ingest", "at_us": 0, "epoch": epoch, "settings": settings}
    return Message(b"p/ingest", CODEC.encode("control", {**said, "actor": "someone", "reason": "none"}))


@pytest.mark.parametrize(
    "strange",
    [
        control(fetch_wait_s=math.nan),
        control(max_batch=math.inf),
        control(epoch=(1 << 63) - 1),
        Message(b"p/ingest", None),
        Message(None, b"{}"),
    ],
)
async def test_given_what_nobody_can_do_then_it_is_passed_over_and_the_next_word_holds(strange):
    log, stop = MemoryLog(1), asyncio.Event()
    await log.append(CONTROL, 0, [strange, control(epoch=2, fetch_wait_s=0.5)])
    obeyed: list[float] = []

    def ingest(said):
        obeyed.extend(said["settings"].values())
        stop.set()

    async with asyncio.timeout(5):
        await obey(log, CODEC, "p", {"ingest": ingest}, stop)
    assert obeyed == [0.5]
