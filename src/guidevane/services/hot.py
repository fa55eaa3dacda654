"""How a room of the hot path runs: one worker over its stages, obeying the control topic."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from guidevane.runtime.garbage import freeze, sweep
from guidevane.runtime.obeying import obey
from guidevane.settings import FETCH_WAITS_S
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from guidevane.events import Control
    from guidevane.runtime.room import Room, S
    from guidevane.runtime.stage import Stage

FETCH_WAIT, CONSUMERS = "fetch_wait_s", "consumers"
_log = logging.getLogger(__name__)


async def run_hot(
    room: Room[S],
    stages: Sequence[Stage],
    *,
    obeying: dict[str, Callable[[Control], None]] | None = None,
    beside: Sequence[Awaitable[None]] = (),
) -> None:
    """Run the stages until the room ends.

    ``obeying`` says what else control events change, by room; ``beside`` runs along. The first of
    all these that fails ends the room, so that whoever supervises it knows.
    """
    worker = room.worker(stages)
    told = dict(obeying or {})
    also = told.get(stages[0].name)

    def gather(said: Control) -> None:
        wait_s = wait_told_s(said["settings"])
        if wait_s is not None:
            worker.gather(replace(worker.fetch_settings, wait_s=wait_s))
            room.metrics.gauge(names.FETCH_WAIT_SECONDS, wait_s)
        room.metrics.gauge(names.CONTROL_EPOCH, said["epoch"])
        if room.name == stages[0].name:
            staff(said)
        if also is not None:
            also(said)

    def staff(said: Control) -> None:
        worker.resigns = leaves(room.settings.instance, said["settings"].get(CONSUMERS))

    # Fused stages are fetched for once, before the first of them: its wait is everyone's.
    told.setdefault(room.name, staff)
    told[stages[0].name] = gather
    room.metrics.gauge(names.FETCH_WAIT_SECONDS, worker.fetch_settings.wait_s)

    freeze(swept=True)
    sweeping = asyncio.create_task(sweep())

    async def work() -> None:
        try:
            await worker.run(room.stop)
        finally:
            room.stop.set()

    try:
        async with asyncio.TaskGroup() as together:
            together.create_task(work())
            together.create_task(obey(room.log, room.codec, room.pipeline.name, told, room.stop))
            for each in beside:
                together.create_task(_awaited(each))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several
    finally:
        sweeping.cancel()


def wait_told_s(settings: Mapping[str, float]) -> float | None:
    """Return how long a fetch is told to wait, within what an operator may set: beyond it, nothing would come any more.

    >>> wait_told_s({"fetch_wait_s": 0.02}), wait_told_s({"fetch_wait_s": 3600.0}), wait_told_s({})
    (0.02, None, None)
    """
    told_s = settings.get(FETCH_WAIT)
    if told_s is not None and not FETCH_WAITS_S[0] <= told_s <= FETCH_WAITS_S[1]:
        _log.warning("told to wait %s s for a fetch, not within %s to %s s: nothing is changed", told_s, *FETCH_WAITS_S)
        return None
    return told_s


def leaves(instance: str, consumers: float | None) -> bool:
    """Tell whether a member of a group will not come back: its number is beyond those that are wanted.

    Who keeps its place over a restart spares the group a rebalance; who is gone for good holds its partitions up for
    the length of a session.

    >>> leaves("p-ingest-2", 2.0), leaves("p-ingest-1", 2.0), leaves("p-ingest-0", None), leaves("laptop", 1.0)
    (True, False, False, False)
    """
    number = instance.rpartition("-")[2]
    return consumers is not None and number.isdecimal() and int(number) >= consumers


async def _awaited(each: Awaitable[None]) -> None:
    await each
