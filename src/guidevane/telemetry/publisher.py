"""A room's telemetry, once a second, on ``guidevane.telemetry``: what the controller steers by."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from guidevane.log import Message
from guidevane.telemetry import names
from guidevane.topics import TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.clock import Clock
    from guidevane.events import Telemetry
    from guidevane.log import Producer
    from guidevane.telemetry.metrics import Metrics

_logger = logging.getLogger(__name__)
_PATIENCE_S: Final = 5.0


class Publisher:
    """Writes what happened in each interval; its trouble is counted, told once, and never the room's.

    ``encode`` is ``Codec(catalogue).encoder("telemetry")``. What could not be written is lost: the
    next event speaks of its own interval only, and whoever reads sees the gap. ``busy_s`` is the CPU time that the
    room's loop has taken so far, asked for in the loop.
    """

    def __init__(
        self,
        metrics: Metrics,
        producer: Producer,
        encode: Callable[[Telemetry], bytes],
        clock: Clock,
        busy_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._metrics = metrics
        self._producer = producer
        self._encode = encode
        self._clock = clock
        self._key = f"{metrics.pipeline}/{metrics.room}/{metrics.instance}".encode()
        self._troubled = False
        self._busy_s = busy_s
        self._was_busy_s: float | None = None

    async def run(self, stop: asyncio.Event, *, every_s: float = 1.0) -> None:
        """Publish until ``stop`` is set, and once more then. Never raises, but passes cancellation on."""
        self._metrics.begin(self._clock.now_us())
        self._was_busy_s = self._busy_s()
        while not stop.is_set():
            try:
                async with asyncio.timeout(every_s):
                    await stop.wait()
            except TimeoutError:
                await self.publish()
        await self.publish()

    async def publish(self) -> bool:
        """Drain the metrics and write them; tell whether that went well. Never raises."""
        if self._was_busy_s is not None:
            before_s, self._was_busy_s = self._was_busy_s, self._busy_s()
            self._metrics.count(names.LOOP_BUSY_SECONDS_TOTAL, max(self._was_busy_s - before_s, 0.0))
        try:
            value = self._encode(self._metrics.drain(self._clock.now_us()))
            async with asyncio.timeout(_PATIENCE_S):
                await self._producer.send(TELEMETRY, 0, [Message(key=self._key, value=value)])
        except Exception as trouble:  # noqa: BLE001 - whatever it is, a room works on without telemetry
            self._metrics.count(names.TELEMETRY_FAILURES_TOTAL)
            if not self._troubled:
                _logger.warning("telemetry cannot be written", extra={"trouble": repr(trouble)})
            self._troubled = True
            return False
        self._troubled = False
        return True
