"""Doing what the control topic says: the last word for each room, from the start of time on."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from guidevane.errors import GuidevaneError, Reject, Retryable
from guidevane.log import Fetch
from guidevane.topics import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guidevane.codec import Codec, Decoder
    from guidevane.events import Control
    from guidevane.log import Log, Record

_log = logging.getLogger(__name__)
# Rarely is there anything to obey; asking more often would cost the broker more than a busy stage does.
_FETCH = Fetch(wait_s=0.25)
_EPOCHS = range(1 << 62)


def read_control(record: Record, decode: Decoder) -> Control:
    """Return the control event in a record. Raises ``Reject`` for bytes that are none, and for what nobody can do.

    The topic keeps the last word for ever: a room that an event ends would meet it again at each start. So a setting
    that is not finite is refused, and an epoch that none could follow. Causes: those of
    :meth:`guidevane.codec.Codec.decoder`, "not_finite", "bad_epoch".
    """
    said = cast("Control", decode(record.value, record.headers))
    for name, value in said["settings"].items():
        if not math.isfinite(value):
            raise Reject("not_finite", f"control of {said['room']!r:.60}: {name!r:.60} is {value}")
    if said["epoch"] not in _EPOCHS:
        raise Reject("bad_epoch", f"control of {said['room']!r:.60}: epoch {said['epoch']} is not within 0 to 2^62")
    return said


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
                            said = read_control(record, decode)
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
