"""Records as people and programs read them: decoded by their schema id, whatever the topic."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson

from guidevane.codec import schema_id_of
from guidevane.errors import Reject
from guidevane.log import Partition
from guidevane.runtime.deadletter import PREFIX, reasons

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from guidevane.codec import Codec
    from guidevane.log import Log, Record

_POLL_S = 0.5
_SILENCE_S = 5.0


async def read_records(log: Log, topic: str, *, from_start: bool, until_end: bool) -> AsyncGenerator[Record, None]:
    """Yield a topic's records as they come, each partition in order.

    With ``until_end``, stop at the end as it was at the start (or after 5 s in which nothing came: the end of a
    compacted topic may be a gap).
    """
    ends = await log.ends(topic)
    reader = log.reader([topic], from_start=from_start)
    await reader.start()
    silent_s = 0.0

    def there() -> bool:
        return all((reader.position(Partition(topic, number)) or 0) >= end for number, end in ends.items())

    try:
        while not until_end or not (there() or silent_s >= _SILENCE_S):
            fetched = await reader.fetch(timeout_s=_POLL_S)
            silent_s = 0.0 if fetched else silent_s + _POLL_S
            for partition, records in fetched.items():
                for record in records:
                    if not until_end or record.offset < ends[partition.number]:
                        yield record
    finally:
        await reader.close()


def shown(record: Record, codec: Codec) -> dict[str, Any]:
    """Return a record for people: place, time, key, headers and value, all as JSON can say it.

    Bytes that are no text, and values that nobody can decode, become ``{"base64": ...}``; a dead
    letter also has its ``reasons``.
    """
    letter = reasons(record)
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_us": record.timestamp_us,
        "key": text_of(record.key),
        "headers": {name: text_of(value) for name, value in record.headers if not name.startswith(PREFIX)},
        **({"reasons": letter} if letter else {}),
        "value": value_of(record, codec),
    }


def value_of(record: Record, codec: Codec) -> object:
    """Return a value, decoded by its schema id, else read as JSON, else as ``{"base64": ...}``."""
    schema_id = schema_id_of(record.value, record.headers)
    schema = codec.catalogue.find(schema_id) if schema_id is not None else None
    if schema is not None:
        try:
            return codec.decode(schema.contract, record.value, record.headers)
        except Reject:
            return text_of(record.value, always_base64=True)
    try:
        return orjson.loads(record.value) if record.value is not None else None
    except orjson.JSONDecodeError:
        return text_of(record.value, always_base64=True)


def text_of(content: bytes | None, *, always_base64: bool = False) -> str | dict[str, str] | None:
    r"""Return bytes as text where they are text.

    >>> text_of(b"abc"), text_of(b"\xff")
    ('abc', {'base64': '/w=='})
    """
    if content is None:
        return None
    if not always_base64:
        try:
            return content.decode()
        except UnicodeDecodeError:
            return text_of(content, always_base64=True)
    return {"base64": base64.b64encode(content).decode()}


def as_json(value: object, *, indent: bool = False) -> str:
    r"""Return JSON on one line, or indented; bytes inside become ``{"base64": ...}``, NaN becomes null.

    >>> as_json({"vector": b"\x00", "score": float("nan")})
    '{"vector":{"base64":"AA=="},"score":null}'
    """
    return orjson.dumps(value, default=_bytes, option=orjson.OPT_INDENT_2 if indent else 0).decode()


def plain(text: object) -> str:
    r"""Return text that a terminal only shows: what a stranger sent must not move its cursor.

    >>> plain("a\x1b[2Jb")
    'a\ufffd[2Jb'
    """
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text))


def _bytes(value: object) -> object:
    if isinstance(value, bytes):
        return text_of(value, always_base64=True)
    raise TypeError(f"{type(value).__name__} is nothing that Avro holds")
