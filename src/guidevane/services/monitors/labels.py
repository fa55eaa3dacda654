"""Labels as the world sends them: Avro or JSON, guilty until decoded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson

from guidevane.errors import Reject
from guidevane.events import Label

if TYPE_CHECKING:
    from guidevane.codec import Decoder
    from guidevane.log import Record

# A label waits in memory for its decision, so what it may weigh is bounded.
MAX_ID_CHARACTERS: Final = 256
MAX_JSON_BYTES: Final = 64 << 10
_TIMES_US: Final = range(1 << 63)


def read_label(record: Record, decode: Decoder) -> Label:
    """Return the label in a record. Raises ``Reject`` and nothing else, whatever the bytes.

    JSON is what starts with ``{``: ``event_id`` (a string), ``label`` (a number or a boolean) and, where it is
    known, ``observed_at_us``; other fields are passed over. All else is Avro in the contract ``label``.
    Causes: those of :meth:`guidevane.codec.Codec.decoder`, "missing_field", "bad_event_id", "bad_label", "bad_time".
    """
    value = record.value
    body = _parse(value) if value and value.lstrip()[:1] == b"{" else decode(value, record.headers)
    for name in ("event_id", "label"):
        if name not in body:
            raise Reject("missing_field", f"label: field {name!r} is missing")
    event_id, label, at_us = body["event_id"], body["label"], body.get("observed_at_us")
    if not isinstance(event_id, str) or not 0 < len(event_id) <= MAX_ID_CHARACTERS:
        raise Reject(
            "bad_event_id", f"label: event_id must be 1 to {MAX_ID_CHARACTERS} characters, got {event_id!r:.60}"
        )
    if not isinstance(label, (int, float)) or not math.isfinite(label):
        raise Reject("bad_label", f"label of event {event_id}: must be a finite number, got {label!r:.60}")
    if at_us is not None and (type(at_us) is not int or at_us not in _TIMES_US):
        raise Reject("bad_time", f"label of event {event_id}: observed_at_us must be microseconds, got {at_us!r:.60}")
    return Label(event_id=event_id, label=float(label), observed_at_us=at_us)


def _parse(value: bytes) -> dict[str, Any]:
    if len(value) > MAX_JSON_BYTES:
        raise Reject("decode_budget", f"label: {len(value)} bytes of JSON, at most {MAX_JSON_BYTES} are read")
    try:
        body: dict[str, Any] = orjson.loads(value)
    except orjson.JSONDecodeError as wrong:
        raise Reject("malformed", f"label: not JSON, {wrong!s:.120}") from wrong
    return body
