"""Given a room that still waits for Kafka, when it is told to stop, then it ends in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys


async def test_given_sigterm_while_no_broker_answers_then_the_room_ends_with_0():
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "GUIDEVANE_PIPELINE": "employment"}
    room = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "guidevane.services.admin", env={**os.environ, **away}, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        said = b""
        while b"waiting: no Kafka at 127.0.0.1:1" not in said:
            said += await room.stderr.readline()
        room.send_signal(signal.SIGTERM)
        said += await room.stderr.read()
        assert await room.wait() == 0
    assert b"Traceback" not in said
