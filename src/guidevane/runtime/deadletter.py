"""What a dead letter carries: the original key, value and headers, untouched, and why it died.

Header names are Kafka's own newest (KIP-1191), so that tools to come can read them, with ours
beside them in the same style.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from guidevane.log import Headers, Message, Record
from guidevane.runtime.stage import ORIGIN

if TYPE_CHECKING:
    from guidevane.errors import Reject

PREFIX = "__dlq.errors."
STAGE = PREFIX + "stage"
CAUSE = PREFIX + "exception.class"
MESSAGE = PREFIX + "message"
_MESSAGE_BYTES = 1024
_FRAME = struct.Struct(">bI")


def dead_letter(
    record: Record, reject: Reject, *, stage: str, group: str, now_us: int, origin: int | None = None, attempts: int = 1
) -> Message:
    """Return the dead letter of ``record``."""
    why: dict[str, str] = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "group": group,
        "delivery.count": str(attempts),
        "message": str(reject).encode()[:_MESSAGE_BYTES].decode(errors="ignore"),
        "stage": stage,
        "exception.class": reject.cause,
        "timestamp": str(now_us // 1000),
    }
    if record.value and len(record.value) >= _FRAME.size and record.value[0] == 0:
        why["schema.id"] = str(_FRAME.unpack_from(record.value)[1])
    added: Headers = tuple((PREFIX + name, value.encode()) for name, value in why.items())
    mine: Headers = ((ORIGIN, b"%d" % origin),) if origin is not None else ()
    return Message(record.key, record.value, record.headers + added + mine)


def reasons(record: Record) -> dict[str, str]:
    """Return why a dead letter died: the names after ``__dlq.errors.`` and their text.

    A letter that died twice tells of its last death.
    """
    return {
        name.removeprefix(PREFIX): value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
