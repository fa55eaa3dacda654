"""The gate of a pipeline: bytes from anywhere become an event that keeps its contract, or a ``Reject``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from guidevane.codec import FRAME_BYTES, header_of, schema_id_of
from guidevane.coded import values_of
from guidevane.columns import Columns
from guidevane.errors import Reject
from guidevane.fitting import fitting
from guidevane.plain import PlainJson
from guidevane.reader import GIVEN_UP
from guidevane.repeated import repeated_key
from guidevane.writer import SIZES, long

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.codec import Codec
    from guidevane.coded import Column
    from guidevane.columns import Cut
    from guidevane.event import Event
    from guidevane.log import Record

_FLOATS = {"float", "double"}
_FLAT = {"string", "bytes", "boolean", "enum", "fixed"}
_INT_BOUNDS: tuple[float, float] = (-(1 << 31), (1 << 31) - 1)
MAX_HEADERS = 128


class Contract:
    """Reads a pipeline's events, Avro or JSON, and holds them to their contract.

    ``encode`` writes an event as the contract's own Avro, :meth:`renamed` only its personal fields; ``decode`` reads
    what ``encode`` wrote, unchecked.

    >>> from guidevane.catalogue import Catalogue
    >>> from guidevane.codec import Codec
    >>> from guidevane.event import Event
    >>> from guidevane.log import Record
    >>> ping = {"type": "record", "name": "net.ping", "fields": [{"name": "host", "type": "string"}]}
    >>> contract = Contract(Event("net.ping.v1", schema=ping, key="host"), Codec(Catalogue()))
    >>> contract.read(Record("net.events", 0, 0, None, b'{"host": "a"}'))
    {'host': 'a'}
    """

    def __init__(self, event: Event, codec: Codec) -> None:
        codec.catalogue.learn(event)
        self.event = event
        self.encode = codec.encoder(event.name, version=event.version)
        self.decode = codec.decoder(event.name, version=event.version, trusted=True)
        self._catalogue = codec.catalogue
        self._max_bytes = codec.max_bytes
        self._avro = codec.decoder(event.name, version=event.version)
        self._plain = PlainJson(event.parsed)
        self._bounds = [(name, *_bounds(event, name)) for name in event.numeric_fields if _bounded(event, name)]
        numeric = set(event.numeric_fields)
        texts = {"string", "bytes"}
        self._texts = [name for name in event.fields if event.kinds(name) & texts and not event.kinds(name) - _FLAT]
        quick_time = event.time if event.time is not None and event.in_microseconds(event.time) else None
        since = event.time_bounds_us(0)[0]
        self._fits = fitting(event.key, self._bounds, self._texts, event.longest, time=quick_time, since=since)
        self._nested = [name for name in event.fields if name not in numeric and event.kinds(name) - _FLAT]
        plain = codec.plain(event.name, event.pii, version=event.version)
        # What the quick way does not look at, it must not pass.
        self._quick = None if self._nested or quick_time != event.time else plain
        # It gives up where an int has more than 32 bits.
        bounds = [(name, low, high) for name, low, high in self._bounds if (low, high) != _INT_BOUNDS]
        self._fits_too = fitting(event.key, bounds, self._texts, event.longest, time=quick_time, since=since)
        self._personal = [(name, _branch(event, name)) for name in event.fields if name in event.pii]
        own = codec.catalogue.version(event.name, event.version)
        self._columns = Columns(own, event.fields, cut=[(name, name) for name, _ in self._personal])

    @property
    def unknown_fields(self) -> int:
        """Return how many fields of JSON events were passed over, because the contract lacks them."""
        return self._plain.unknown_fields

    def read(self, record: Record) -> dict[str, Any]:
        """Return the event in a record. Raises ``Reject`` and nothing else, whatever the bytes.

        JSON is what starts with ``{`` and names no schema that is known, whatever its ``content-type``.
        Causes: those of :meth:`guidevane.codec.Codec.decoder`; for JSON "malformed", "duplicate_key", "missing_field",
        "wrong_type"; for both "empty_key", "not_finite", "out_of_range", "too_long", "bad_time", "too_many_headers".
        """
        return self.cut(record)[0]

    def cut(self, record: Record) -> tuple[dict[str, Any], tuple[int, ...] | None]:
        """Return what :meth:`read` does, and where the value holds personal fields, for :meth:`renamed`.

        That is where each begins and ends, in the schema's order; ``None`` for a value that is not as the contract
        itself writes it.
        """
        value = record.value
        if self._quick is not None and _silent(record) and type(value) is bytes and len(value) <= self._max_bytes:
            frame, cut = self._quick
            if value[:FRAME_BYTES] == frame:
                try:
                    found = cut(value, FRAME_BYTES)
                    if self._fits_too(found[0], self.event.time_bounds_us(record.timestamp_us)[1]):
                        return found
                except GIVEN_UP:
                    # Not plain, or not right: looked at below.
                    pass
        return self._judged(record), None

    def wrote(self, record: Record) -> bool:
        """Tell whether a record's value begins as those do that the contract itself writes."""
        value = record.value
        return self._quick is not None and value is not None and value[:FRAME_BYTES] == self._quick[0]

    def together(self, records: Sequence[Record]) -> Cut | None:
        """Return the events in many records as columns, with where each value holds personal fields, in their order.

        ``None`` where they are to be read one by one: for few, or where one is not as the contract itself writes it,
        or is to be refused.
        """
        if self._quick is None or not all(map(_silent, records)):
            return None
        values = [record.value for record in records]
        if any(value is None or len(value) > self._max_bytes for value in values):
            return None
        found = self._columns.cut(values)
        if found is None or found.end.tolist() != [len(value or b"") for value in values]:
            return None
        return found if self._all_fit(found.columns, records) else None

    def renamed(self, value: bytes, body: Mapping[str, Any], places: Sequence[int]) -> bytes:
        """Return a value that was cut, with the personal fields as ``body`` has them now: short texts, or null.

        It reads as what ``encode`` would give, at a fifth of the price.
        """
        if not places:
            return value
        parts, at, ahead = list[bytes](), 0, iter(places)
        for (name, branch), begin, end in zip(self._personal, ahead, ahead, strict=True):
            if (text := body[name]) is not None:
                new = text.encode()
                parts += value[at:begin], branch, SIZES[len(new)], new
                at = end
        return b"".join([*parts, value[at:]])

    def renamed_all(
        self, values: Sequence[bytes], texts: Mapping[str, Sequence[str | None]], cut: Cut
    ) -> Sequence[bytes]:
        """Return what :meth:`renamed` does, for many that came :meth:`together`; ``texts`` are by personal field."""
        # From the last field to the first: what lies before one keeps its place.
        for (name, branch), (begins, ends) in reversed([*zip(self._personal, cut.places, strict=True)]):
            values = [
                value
                if text is None
                else b"".join((value[:begin], branch, SIZES[len(new := text.encode())], new, value[end:]))
                for value, text, begin, end in zip(values, texts[name], begins, ends, strict=True)
            ]
        return values

    def _all_fit(self, columns: Mapping[str, Column], records: Sequence[Record]) -> bool:
        """Tell whether all events have what :func:`guidevane.fitting.fitting` asks of each."""
        key = columns[self.event.key]
        if not isinstance(key, np.ndarray) and not all(each or each == 0 for each in values_of(key)):
            return False
        if not all(_within(columns[name], low, high) for name, low, high in self._bounds):
            return False
        longest = self.event.longest
        if any(len(each or "") > longest for name in self._texts for each in values_of(columns[name])):
            return False
        if self.event.time is None:
            return True
        written = [record.timestamp_us for record in records]
        bounds = {each: self.event.time_bounds_us(each) for each in set(written)}
        return all(
            at is None or low <= at <= high
            for at, (low, high) in zip(
                values_of(columns[self.event.time]), map(bounds.__getitem__, written), strict=True
            )
        )

    def _judged(self, record: Record) -> dict[str, Any]:
        value = record.value
        if len(record.headers) > MAX_HEADERS:
            says = f"{self.event.contract}: {len(record.headers)} headers, at most {MAX_HEADERS} are read"
            raise Reject("too_many_headers", says)
        if not value:
            raise Reject("empty", f"{self.event.contract}: the value is empty")
        if value[0] in _JSON_STARTS and self._is_json(record, value):
            return self.of_json(self._parse(value), record.timestamp_us)
        body = self._avro(value, record.headers)
        self._check(body, record.timestamp_us)
        return body

    def of_json(self, value: object, written_us: int = 0) -> dict[str, Any]:
        """Return the event in a JSON value that is parsed already. Raises ``Reject`` as :meth:`read` does."""
        body = self._plain(value)
        self._check(body, written_us)
        return body

    def _is_json(self, record: Record, value: bytes) -> bool:
        if value.lstrip(_SPACE)[:1] != b"{":
            return False
        # Confluent's JSON serializers put ids of JSON schemas there, which name no contract of ours.
        header = header_of(record.headers)
        schema_id = None if header is None else schema_id_of(header)
        return schema_id is None or self._catalogue.find(schema_id) is None

    def _parse(self, value: bytes) -> object:
        if len(value) > self._max_bytes:
            says = f"{self.event.contract}: {len(value)} bytes, at most {self._max_bytes} are read"
            raise Reject("decode_budget", says)
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError as wrong:
            raise Reject("malformed", f"{self.event.contract}: not JSON, {wrong!s:.120}") from wrong
        if (name := repeated_key(value, parsed)) is not None:
            raise Reject("duplicate_key", f"{self.event.contract}: key {name!r:.60} is there twice")
        return parsed

    def _check(self, body: Mapping[str, Any], written_us: int) -> None:
        if not self._fits(body, self.event.time_bounds_us(written_us)[1]):
            self._look(body)
        for name in self._nested:
            if not _finite(body[name]):
                raise Reject("not_finite", f"{self.event.contract}: field {name!r} holds a number that is not finite")
        if self.event.time is not None:
            self._check_time(body, written_us)

    def _look(self, body: Mapping[str, Any]) -> None:
        """Look at one field after the other; say what is wrong with the first that is."""
        key = body[self.event.key]
        if key is None or key in {"", b""}:
            raise Reject("empty_key", f"{self.event.contract}: field {self.event.key!r} is {key!r}")
        for name, low, high in self._bounds:
            value = body[name]
            # One comparison tells apart the good from all of NaN, infinity and out of range.
            if value is not None and not low <= value <= high:
                self._refuse(name, value, low, high)
        for name in self._texts:
            text = body[name]
            if isinstance(text, str | bytes) and len(text) > self.event.longest:
                says = f"{self.event.contract}: field {name!r} has {len(text)} characters, at most {self.event.longest}"
                raise Reject("too_long", says)

    def _check_time(self, body: Mapping[str, Any], written_us: int) -> None:
        happened_us = self.event.time_us(body)
        low, high = self.event.time_bounds_us(written_us)
        if happened_us is not None and not low <= happened_us <= high:
            says = f"field {self.event.time!r} is {body[str(self.event.time)]}, which is {happened_us} µs: not within"
            raise Reject("bad_time", f"{self.event.contract}: {says} [{low}, {high}]; see since= and ahead_s=")

    def _refuse(self, name: str, value: float, low: float, high: float) -> None:
        if not math.isfinite(value):
            raise Reject("not_finite", f"{self.event.contract}: field {name!r} is {value}")
        raise Reject("out_of_range", f"{self.event.contract}: field {name!r} is {value}, not within [{low}, {high}]")


_SPACE = b" \t\r\n"
_JSON_STARTS = frozenset(_SPACE + b"{")


def _silent(record: Record) -> bool:
    """Tell whether a record's headers are few, and say nothing of its schema."""
    return not record.headers or (len(record.headers) <= MAX_HEADERS and header_of(record.headers) is None)


def _within(column: Column, low: float, high: float) -> bool:
    """Tell whether all numbers of a column are within inclusive bounds, or null."""
    if isinstance(column, np.ndarray):
        return bool(((column >= low) & (column <= high)).all())
    return all(each is None or low <= each <= high for each in values_of(column))


def _branch(event: Event, name: str) -> bytes:
    """Return what stands before a text in a field: nothing, or its branch of a union."""
    (kind,) = (field["type"] for field in event.parsed["fields"] if field["name"] == name)
    return long([branch != "null" for branch in kind].index(True)) if isinstance(kind, list) else b""


def _bounded(event: Event, name: str) -> bool:
    return _bounds(event, name) != (-math.inf, math.inf)


def _bounds(event: Event, name: str) -> tuple[float, float]:
    low, high = event.ranges.get(name, (-math.inf, math.inf))
    kinds = event.kinds(name)
    if kinds & _FLOATS:
        largest = math.nextafter(math.inf, 0)
        return max(low, -largest), min(high, largest)
    if kinds == {"int"}:
        # fastavro reads a long where the schema says int; other languages' readers would not.
        return max(low, _INT_BOUNDS[0]), min(high, _INT_BOUNDS[1])
    return low, high


def _finite(value: object) -> bool:
    """Tell whether every number within is finite."""
    ahead = [value]
    while ahead:
        item = ahead.pop()
        if type(item) is float:
            if not math.isfinite(item):
                return False
        elif type(item) is list:
            ahead.extend(item)
        elif type(item) is dict:
            ahead.extend(item.values())
    return True
