"""Events that can never be decided, for tests: one of each kind that was ever seen to break a consumer.

Each is made from one good event of a pipeline, so that it is poison for that pipeline and no other reason.
"""

from __future__ import annotations

import base64
import copy
import gzip
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from guidevane.catalogue import Catalogue
from guidevane.codec import MAX_BYTES, SCHEMA_ID_HEADER, Codec
from guidevane.contract import MAX_HEADERS
from guidevane.event import Event
from guidevane.log import Headers, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Encode = Callable[[Mapping[str, Any]], bytes]


_FRAME = 5
_UNFRAMED = {"bad_magic", "truncated", "unknown_schema"}
_AVRO = {"truncated", "malformed", "bad_utf8", "trailing_bytes", "decode_budget"}
# Wrong bytes may also decode, to an event that breaks its contract.
_ANY = _AVRO | {"empty_key", "not_finite", "out_of_range", "too_long", "bad_time"}


@dataclass(frozen=True, slots=True)
class Poison:
    """One event that must become a dead letter at ``ingest``, for one of these causes."""

    kind: str
    value: bytes | None
    causes: frozenset[str]
    key: bytes | None = None
    headers: Headers = ()

    @property
    def message(self) -> Message:
        """Return it as it is sent; header ``poison`` names its kind."""
        return Message(self.key, self.value, (*self.headers, ("poison", self.kind.encode())))


def poison(event: Event, good: Mapping[str, Any], codec: Codec, *, seed: int = 1) -> list[Poison]:
    """Return one poison of every kind that the contract's fields allow, at least thirty.

    ``good`` is an event that keeps the contract, with every field; ``codec`` knows the contract. The same seed gives
    the same bytes.
    """
    codec.catalogue.learn(event)
    encode = codec.encoder(event.name, version=event.version)
    avro = encode(good)
    made = [*_frames(avro, codec, random.Random(seed)), *_bodies(event, good, encode), *_texts(event, good)]
    return [*made, *_headers(avro), *_values(event, good, encode)]


def _poison(kind: str, value: bytes | None, causes: set[str], headers: Headers = ()) -> Poison:
    return Poison(kind, value, frozenset(causes), headers=headers)


def _frames(avro: bytes, codec: Codec, rng: random.Random) -> Iterator[Poison]:
    frame, body = avro[:_FRAME], avro[_FRAME:]
    label = codec.encode("label", {"event_id": "e", "label": 1.0, "observed_at_us": None})
    yield _poison("tombstone", None, {"empty"})
    yield _poison("empty", b"", {"empty"})
    yield _poison("short_frame", frame[:3], {"truncated"})
    yield _poison("frame_alone", frame, {"truncated", "malformed"})
    yield _poison("bad_magic", b"\x07" + avro[1:], {"bad_magic"})
    yield _poison("unknown_schema_id", b"\x00\x7f\xff\xff\xff" + body, {"unknown_schema"})
    yield _poison("schema_of_another_event", label, {"wrong_schema"})
    yield _poison("unknown_guid", b"\x01" + rng.randbytes(16) + body, {"unknown_schema"})
    yield _poison("short_guid", b"\x01" + rng.randbytes(7), {"truncated"})
    yield _poison("zeros", bytes(1000), {"unknown_schema"})
    yield _poison("noise", b"\x80" + rng.randbytes(400), {"bad_magic"})
    yield _poison("gzip", gzip.compress(avro, mtime=0), {"bad_magic"})
    yield _poison("avro_file", b"Obj\x01" + body, {"bad_magic"})
    yield _poison("html", b"<html>502 Bad Gateway</html>", {"bad_magic"})
    yield _poison("base64", b"AAAAAAEGZm9v", {"bad_magic"})
    yield _poison("framed_twice", frame + avro, _ANY)
    yield _poison("json_in_a_frame", frame + b'{"a": "text where Avro should be"}', _ANY)


def _bodies(event: Event, good: Mapping[str, Any], encode: Encode) -> Iterator[Poison]:
    avro = encode(good)
    frame = avro[:_FRAME]
    yield _poison("truncated", avro[:-1], _AVRO)
    yield _poison("truncated_in_the_middle", avro[: _FRAME + (len(avro) - _FRAME) // 2], _AVRO)
    yield _poison("trailing_bytes", avro + b"\x00", {"trailing_bytes"})
    yield _poison("oversize", avro + bytes(MAX_BYTES), {"decode_budget"})
    yield _poison("endless_number", frame + b"\xff" * 64, _ANY)
    yield _poison("hostile_count", frame + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", _ANY)
    yield _poison("negative_length", frame + b"\x01" * 8, _ANY)
    text = next((name for name in event.fields if event.kinds(name) == {"string"}), None)
    if text is not None:
        mark = "poisonous-text"
        marked = encode({**good, text: mark})
        yield _poison("bad_utf8", marked.replace(mark.encode(), b"\xff" * len(mark)), {"bad_utf8"})
        yield _poison("overlong_utf8", marked.replace(mark.encode(), b"\xc0\x80" * (len(mark) // 2)), {"bad_utf8"})
        yield _poison("surrogates", marked.replace(mark.encode()[:12], b"\xed\xa0\x80" * 4), {"bad_utf8"})


def _texts(event: Event, good: Mapping[str, Any]) -> Iterator[Poison]:
    text = orjson.dumps(_plain(dict(good)))
    first = event.fields[0]
    yield _poison("json_truncated", text[:-1], {"malformed"})
    yield _poison("json_array", b"[" + text + b"]", {"bad_magic"})
    yield _poison("json_twice", text + text, {"malformed"})
    yield _poison("json_null", b"null", {"bad_magic"})
    yield _poison("json_number", b"42", {"bad_magic"})
    yield _poison("json_string", orjson.dumps(text.decode()), {"bad_magic"})
    yield _poison("json_empty_object", b"{}", {"missing_field", "empty_key"})
    yield _poison("json_of_another_shape", b'{"payload": ' + text + b"}", {"missing_field", "empty_key"})
    yield _poison("json_deep", b'{"a":' * 50_000, {"malformed"})
    yield _poison("json_deep_and_closed", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, {"malformed"})
    yield _poison("json_comment", text[:-1] + b"/* why not */}", {"malformed"})
    yield _poison("json_bad_utf8", text.replace(b'"', b'"\xff', 1), {"malformed"})
    yield _poison("json_lone_surrogate", text[:-1] + b', "x": "\\ud800"}', {"malformed"})
    yield _poison("json_byte_order_mark", b"\xef\xbb\xbf" + text, {"bad_magic"})
    yield _poison("json_utf16", text.decode().encode("utf-16-le"), {"malformed"})
    yield _poison("json_oversize", text[:-1] + b" " * MAX_BYTES + b"}", {"decode_budget"})
    twice = orjson.dumps(first) + b": " + orjson.dumps(_plain(dict(good))[first]) + b", "
    yield _poison("json_duplicate_key", b"{" + twice + text[1:], {"duplicate_key"})


def _headers(avro: bytes) -> Iterator[Poison]:
    body = avro[_FRAME:]
    yield _poison("schema_header_garbage", body, _UNFRAMED, ((SCHEMA_ID_HEADER, b"\x99garbage"),))
    yield _poison("schema_header_short", body, {"truncated"}, ((SCHEMA_ID_HEADER, b"\x01\x02"),))
    yield _poison("schema_header_unknown_guid", body, {"unknown_schema"}, ((SCHEMA_ID_HEADER, b"\x01" + b"\xab" * 16),))
    flood = tuple((f"x-{number}", b"y" * 16) for number in range(MAX_HEADERS * 4))
    yield _poison("header_flood", avro, {"too_many_headers"}, flood)
    yield _poison("event_id_too_long", avro, {"bad_event_id"}, (("event_id", b"e" * 5_000),))
    yield _poison("event_id_bad_utf8", avro, {"bad_event_id"}, (("event_id", b"\xff\xfe"),))


def _values(event: Event, good: Mapping[str, Any], encode: Encode) -> Iterator[Poison]:
    """Events that decode, and break their contract."""
    plain = _plain(dict(good))

    def said(field: str, value: object) -> bytes:
        return orjson.dumps({**plain, field: value}, option=orjson.OPT_PASSTHROUGH_DATETIME)

    def raw(field: str, value: bytes) -> bytes:
        # What orjson would not write.
        return said(field, "\x01here").replace(b'"\\u0001here"', value)

    wrong = {"wrong_type"}
    key = event.key
    yield _poison("null_key", said(key, None), wrong)
    if event.kinds(key) == {"string"}:
        yield _poison("empty_key", said(key, ""), {"empty_key"})
        yield _poison("empty_key_avro", encode({**good, key: ""}), {"empty_key"})
        yield _poison("huge_text", said(key, "x" * (event.longest + 1)), {"too_long"})
        yield _poison("huge_text_avro", encode({**good, key: "x" * (event.longest + 1)}), {"too_long"})
        yield _poison("operator_for_text", said(key, {"$gt": ""}), wrong)
    number = next((name for name in event.numeric_fields if name not in {key, event.time}), None)
    if number is not None:
        yield _poison("text_for_number", said(number, "12"), wrong)
        yield _poison("object_for_number", said(number, {}), wrong)
        yield _poison("array_for_number", said(number, [1]), wrong)
        yield _poison("boolean_for_number", said(number, value=True), wrong)
        yield _poison("json_nan", raw(number, b"NaN"), {"malformed"})
        yield _poison("json_infinity", raw(number, b"Infinity"), {"malformed"})
        yield _poison("json_beyond_infinity", raw(number, b"1e999"), {"malformed", "wrong_type", "not_finite"})
        huge = {"wrong_type", "out_of_range", "malformed", "not_finite"}
        yield _poison("huge_integer", raw(number, b"9" * 400), huge)
    yield from _kinds(event, good, encode)
    yield from _times(event, said)


def _kinds(event: Event, good: Mapping[str, Any], encode: Encode) -> Iterator[Poison]:
    floats = [name for name in event.numeric_fields if event.kinds(name) & {"float", "double"}]
    if floats:
        for kind, value in (("nan", float("nan")), ("infinity", float("inf")), ("minus_infinity", float("-inf"))):
            yield _poison(kind, encode({**good, floats[0]: value}), {"not_finite"})
    for name in event.numeric_fields:
        if event.kinds(name) == {"int"} and not event.nullable(name):
            wide = encode(good)[:_FRAME] + _widened(event, name, good, 1 << 40)
            yield _poison("long_for_int", wide, {"out_of_range"})
            break
    for name, (low, high) in event.ranges.items():
        beyond = high + 1 if high + 1 > high else low - 1
        yield _poison("out_of_range", encode({**good, name: type(good[name])(beyond)}), {"out_of_range"})
        break


def _times(event: Event, said: Callable[[str, object], bytes]) -> Iterator[Poison]:
    if event.time is None:
        return
    bounds = {"bad_time", "out_of_range"}
    yield _poison("time_at_zero", said(event.time, 0), bounds)
    yield _poison("time_before_all_time", said(event.time, -(1 << 31)), bounds)
    if event.kinds(event.time) == {"long"}:
        yield _poison("time_in_seconds", said(event.time, 1_700_000_000), bounds)
        yield _poison("time_in_nanoseconds", said(event.time, 1_700_000_000 * 10**9), bounds)
        yield _poison("time_in_the_far_future", said(event.time, (1 << 63) - 1), bounds)


def _plain(good: Any) -> Any:
    """Return an event as JSON holds it: bytes in base64."""
    match good:
        case bytes():
            return base64.b64encode(good).decode()
        case list():
            return [_plain(each) for each in good]
        case dict():
            return {name: _plain(each) for name, each in good.items()}
    return good


def _widened(event: Event, field: str, good: Mapping[str, Any], value: int) -> bytes:
    """Return the Avro of a producer whose schema has a long where ours has an int, without its frame."""
    schema = copy.deepcopy(dict(event.history[event.version]))
    for each in schema["fields"]:
        if each["name"] == field:
            each["type"] = "long"
    theirs = Codec(Catalogue())
    theirs.catalogue.learn(Event(event.contract, schema=schema, key=event.key))
    return theirs.encoder(event.name, version=event.version)({**good, field: value})[_FRAME:]
