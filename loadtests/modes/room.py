"""The room that is measured: the engine with one light stage, so that what is seen is the mode.

``python -m loadtests.modes.room MODE BOOTSTRAP TOPIC [INSTANCE [SESSION_S]]`` reads ``TOPIC.events``, writes
``TOPIC.out``, says ``ready`` and works until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from guidevane.clock import SystemClock
from guidevane.log import Fetch, Message
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.runtime.loop import loop_runner
from guidevane.runtime.stage import Stage
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.log import Record
    from guidevane.pipeline import Mode


class _Telling(Health):
    """Says ``ready`` when the room first is."""

    said = False

    def ready(self, ok: bool, reason: str) -> None:  # noqa: FBT001 - as in what it extends
        super().ready(ok, reason)
        if ok and not self.said:
            self.said = True
            sys.stdout.write("ready\n")
            sys.stdout.flush()


async def _hand_on(records: Sequence[Record]) -> list[Message]:
    return [Message(record.key, record.value) for record in records]


async def _work(mode: Mode, bootstrap: str, topic: str, instance: str = "0", session_s: str = "10") -> None:
    connection = Connection(bootstrap, compression="none", session_timeout_s=float(session_s))
    log, clock, stop = KafkaLog(connection), SystemClock(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    health = _Telling(clock)
    worker = Worker(
        [Stage(name="light", input=f"{topic}.events", output=f"{topic}.out", handle=_hand_on, first=True)],
        log=log,
        dlq=f"{topic}.dlq",
        group=topic,
        instance=f"{topic}-{instance}",
        clock=clock,
        metrics=Metrics(topic, "light", "0"),
        health=health,
        limits=Limits(fetch=Fetch(wait_s=0.02), session_s=float(session_s)),
        mode=mode,
    )
    await worker.run(stop)
    await log.close()


if __name__ == "__main__":
    if sys.argv[1] not in {"effective", "transactional"}:
        raise SystemExit(f"{sys.argv[1]} is no mode: effective or transactional")
    loop_runner()(_work(*sys.argv[1:]))  # type: ignore[arg-type]
