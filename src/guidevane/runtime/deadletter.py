"""What a dead letter carries: the original key, value and headers, untouched, and why it died.

Header names are Kafka's own newest (KIP-1191), so that tools to come can read them, with ours
beside them in the same style.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from guidevane import reading
from guidevane.log import Headers, Message, Record
from guidevane.runtime.stage import ORIGIN

if TYPE_CHECKING:
    from guidevane.errors import Reject

PREFIX = "__dlq.errors."
STAGE = reading.STAGE
CAUSE = PREFIX + "exception.class"
MESSAGE = PREFIX + "message"
LEFT_OUT = PREFIX + "left.out"
"""What a letter does not hold, for its topic refused it: what came lies where its reasons say, while it does."""
_MESSAGE_BYTES = 1024
_ID_BYTES = 1024
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
    # The last one counts: a label is no outcome of an event, and must not pass for one because it came with an origin.
    had = record.header(ORIGIN) is not None
    mine: Headers = ((ORIGIN, b"%d" % origin),) if origin is not None else ((ORIGIN, b""),) if had else ()
    return Message(record.key, record.value, record.headers + added + mine)


def without_content(letter: Message) -> Message:
    """Return a letter that says why and where, and holds nothing of what came.

    >>> from guidevane.errors import Reject
    >>> from guidevane.log import Record
    >>> record = Record("p.events", 3, 7, b"k", bytes(9_000_000), (("note", bytes(100)),))
    >>> whole = dead_letter(record, Reject("decode_budget", "long"), stage="ingest", group="g", now_us=0, origin=7)
    >>> bare = without_content(whole)
    >>> bare.value, bare.key, bare.size_bytes < 1_000, dict(bare.headers)[LEFT_OUT]
    (None, None, True, b'key of 1, value of 9000000 bytes, 1 headers')
    """
    ours = max(at for at, (name, _) in enumerate(letter.headers) if name == PREFIX + "topic")
    left_out = f"key of {len(letter.key or b'')}, value of {len(letter.value or b'')} bytes, {ours} headers"
    # An event's own id, where it is a short one, is what letters are looked for by.
    named = [each for each in letter.headers[:ours] if each[0] == "event_id" and len(each[1] or b"") <= _ID_BYTES]
    where, *why = letter.headers[ours:]
    return Message(None, None, (*named, where, (LEFT_OUT, left_out.encode()), *why))


def reasons(record: Record) -> dict[str, str]:
    """Return why a dead letter died: the names after ``__dlq.errors.`` and their text.

    A letter that died twice tells of its last death.
    """
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
