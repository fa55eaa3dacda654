"""Doing what the control topic says: the last word for each room, from the start of time on."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from guidevane.errors import GuidevaneError, Reject, Retryable
from guidevane.log import Fetch
from guidevane.topics import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guidevane.codec import Codec
    from guidevane.events import Control
    from guidevane.log import Log

_log = logging.getLogger(__name__)
# Rarely is there anything to obey; asking more often would cost the broker more than a busy stage does.
_FETCH = Fetch(wait_s=0.25)


async def obey(
    log: Log, codec: Codec, pipeline: str, rooms: Mapping[str, Callable[[Control], None]], stop: asyncio.Event
) -> None:
    """Tell each of ``rooms`` what the newest control event for it says, until stopped.

    An epoch older than one obeyed already is ignored. Trouble with the topic changes nothing: the
    rooms go on with what they were told last.
    """
    decode = codec.decoder("control")
    epochs: dict[str, int] = {}
    while not stop.is_set():
        reader = log.reader([CONTROL], fetch=_FETCH)
        try:
            await reader.start()
            while not stop.is_set():
                for records in (await reader.fetch(timeout_s=1.0)).values():
                    for record in records:
                        try:
                            said = cast("Control", decode(record.value, record.headers))
                        except Reject as nonsense:
                            _log.warning("a control event at offset %s: %s", record.offset, nonsense)
                            continue
                        room = said["room"]
                        if said["pipeline"] == pipeline and room in rooms and said["epoch"] > epochs.get(room, -1):
                            epochs[room] = said["epoch"]
                            rooms[room](said)
        except Retryable as trouble:
            _log.warning("the control topic does not answer: %s", trouble)
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stop.wait()
        finally:
            with suppress(GuidevaneError):
                await reader.close()
