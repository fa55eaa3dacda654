"""The event contract: what an author says about the events that a pipeline decides on."""

from __future__ import annotations

import datetime as dt
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from guidevane import schema as schemas
from guidevane.errors import Misconfigured
from guidevane.word import Mistake, nearest, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NUMBERS = {"int", "long", "float", "double"}
_INTEGERS = {"int", "long"}
_TEXT = {"string"}
_WORDS = _TEXT | {"enum"}
_COUNTED = _NUMBERS | {"boolean"}
# What a person can read and a map of strings can hold.
_SCALARS = _NUMBERS | _TEXT | {"boolean", "enum"}
_MICROSECONDS = {"timestamp-micros": (1, 1), "timestamp-millis": (1000, 1), "timestamp-nanos": (1, 1000)}
# Seconds or milliseconds that were sent as microseconds lie in January 1970; nanoseconds, far after 2200.
_SINCE = dt.date(1980, 1, 1)
_EPOCH = dt.date(1970, 1, 1)
_NEVER_US = 230 * 365 * 86_400_000_000


def _named(contract: str) -> str:
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\.v[1-9]\d*", contract) is None:
        raise ValueError("must be a namespace, a record and a version, such as employment.record.v1")
    return contract


@word
class Event:
    """The contract of a pipeline's events: ``namespace.record.vN``, an Avro record.

    ``schema`` is the path of its ``.avsc`` (other versions beside it, as ``v<N>/schema.avsc`` or ``<any>.v<N>.avsc``,
    are known as writers' schemas), or the schema itself; without it, the contract is one that Guidevane ships.
    ``key`` orders events and is never null; ``id`` identifies an event (else its place in the topic does);
    ``time`` is when it happened, in microseconds since the epoch unless its logical type says otherwise (else the
    record's timestamp is). ``protected`` fields are watched and never seen by a model; ``pii`` fields are strings that
    ingest replaces by pseudonyms, and neither ids nor protected, which stand in clear on every topic; ``ranges`` are
    the inclusive bounds of numbers. An event that says it happened before ``since``, or more than ``ahead_s`` after its
    record was written, is refused: a wrong unit, or a broken clock. So is one with a text of more than ``longest``
    characters (or bytes): it would be carried through every topic.

    >>> ping = {"type": "record", "name": "net.ping", "fields": [{"name": "host", "type": "string"}]}
    >>> event = Event("net.ping.v1", schema=ping, key="host")
    >>> event.name, event.version, event.fields
    ('net.ping', 1, ('host',))
    """

    contract: Annotated[str, AfterValidator(_named)]
    schema: Path | dict[str, Any] | None = Field(default=None, kw_only=True)
    key: str = Field(kw_only=True)
    id: str | None = Field(default=None, kw_only=True)
    time: str | None = Field(default=None, kw_only=True)
    protected: tuple[str, ...] = Field(default=(), kw_only=True)
    pii: tuple[str, ...] = Field(default=(), kw_only=True)
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict, kw_only=True)
    since: dt.date = Field(default=_SINCE, kw_only=True)
    ahead_s: Annotated[float, Field(ge=0)] = Field(default=86_400.0, kw_only=True)
    longest: Annotated[int, Field(ge=1)] = Field(default=65_536, kw_only=True)

    @property
    def name(self) -> str:
        """Return the contract's name without its version, such as ``employment.record``."""
        return self.contract.rpartition(".v")[0]

    @property
    def version(self) -> int:
        """Return the contract's version: the one that events are read into."""
        return int(self.contract.rpartition(".v")[2])

    @functools.cached_property
    def history(self) -> Mapping[int, Mapping[str, Any]]:
        """Return every known version's schema. Raises ``Misconfigured`` where a file is missing or not JSON."""
        if isinstance(self.schema, dict):
            return {self.version: self.schema}
        path = self.schema or schemas.SCHEMAS / self.name / f"v{self.version}" / "schema.avsc"
        if self.schema is None and not path.exists():
            raise Misconfigured(f"Guidevane ships no contract {self.contract!r}")
        own = {self.version: schemas.read(path)}
        if schemas.version_of(path) is None:
            return own
        return schemas.read_history(path.parent.parent if path.parent.name == f"v{self.version}" else path.parent) | own

    @functools.cached_property
    def parsed(self) -> Mapping[str, Any]:
        """Return the parsed schema. Raises ``Misconfigured`` where it is missing or not an Avro record."""
        return schemas.make(self.name, self.version, self.history[self.version]).parsed

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the event's fields, in the schema's order."""
        return tuple(field["name"] for field in self.parsed["fields"])

    @property
    def numeric_fields(self) -> tuple[str, ...]:
        """Return the names of the fields that are numbers, or numbers or null."""
        return tuple(name for name in self.fields if self.kinds(name) <= _NUMBERS)

    def nullable(self, field: str) -> bool:
        """Tell whether a field may be null."""
        return "null" in self._branches.get(field, ())

    def time_us(self, body: Mapping[str, Any]) -> int | None:
        """Return when the event happened, in microseconds since the epoch; ``None`` where it does not say."""
        value = body[self.time] if self.time is not None else None
        if value is None:
            return None
        times, per = self._unit
        return int(value) * times // per

    def time_bounds_us(self, written_us: int) -> tuple[int, int]:
        """Return the inclusive bounds of when an event happened whose record was written then (0: nobody knows).

        >>> Event("net.ping.v1", schema={}, key="host", ahead_s=1).time_bounds_us(2_000_000_000_000_000)
        (315532800000000, 2000000001000000)
        """
        low, ahead = self._bounds_us
        return low, min(written_us + ahead, _NEVER_US) if written_us > 0 else _NEVER_US

    def in_microseconds(self, field: str) -> bool:
        """Tell whether a field can be a time as windows read it: a whole number, of no other unit."""
        return bool(self.kinds(field)) and self.kinds(field) <= _INTEGERS and self._unit_of(field) == (1, 1)

    def strangers(self, field: str, values: Sequence[int | str]) -> Iterator[Mistake]:
        """Tell of values that a field never has behind ingest: all of another type, or one no symbol of its enum."""
        kinds = self.kinds(field)
        if field in self.pii:
            yield Mistake("", f"'{field}' is personal, and only its pseudonym is seen", "take another field")
        elif kinds and not any(kinds & (_WORDS if isinstance(value, str) else _COUNTED) for value in values):
            yield Mistake("", f"'{field}' is {' or '.join(sorted(kinds))}, and none of these is", "write its values")
        elif kinds & _WORDS == {"enum"}:
            symbols = self._symbols(field)
            for index, value in enumerate(values):
                if isinstance(value, str) and value not in symbols:
                    yield Mistake(f"[{index}]", f"'{field}' has no symbol {value!r}", nearest(value, symbols))

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong with the contract."""
        try:
            record = str(self.parsed["name"])
        except Misconfigured as wrong:
            yield Mistake("schema", str(wrong), 'write schema=Path(__file__).with_name("schema.avsc")')
            return
        if record != self.name:
            yield Mistake("schema", f"its record is {record!r}, the contract is {self.name!r}", "give both one name")
        said = schemas.version_of(self.schema) if isinstance(self.schema, Path) else None
        if said not in {None, self.version}:
            yield Mistake("schema", f"the file holds version {said}, the contract is version {self.version}")
        yield from self._field("key", self.key, _INTEGERS | _TEXT | {"bytes"}, "a string or an integer")
        if self.key in self.fields and self.nullable(self.key):
            yield Mistake("key", f"field {self.key!r} may be null, and events without a key have no order")
        if self.id is not None:
            yield from self._field("id", self.id, _INTEGERS | _TEXT, "a string or an integer")
            yield from self._in_clear("id", self.id, "an event's id")
        if self.time is not None:
            yield from self._field("time", self.time, {"long"}, "a long: microseconds since the epoch")
            if (logical := self._logical_type_of(self.time)) is not None and logical not in _MICROSECONDS:
                says = f"field {self.time!r} is a {logical}, which is no moment for everybody"
                yield Mistake("time", says, f"one of: {', '.join(_MICROSECONDS)}, or none for microseconds")
        for index, name in enumerate(self.protected):
            yield from self._field(f"protected[{index}]", name, _SCALARS, "a string, number, boolean or enum")
            yield from self._in_clear(f"protected[{index}]", name, "a protected attribute")
        for index, name in enumerate(self.pii):
            yield from self._field(f"pii[{index}]", name, _TEXT, "a string, to hold the pseudonym")
        for name, (low, high) in self.ranges.items():
            yield from self._field(f"ranges.{name}", name, _NUMBERS, "a number")
            if not low <= high:
                yield Mistake(f"ranges.{name}", f"low {low} is above high {high}", "write (low, high)")

    @functools.cached_property
    def _bounds_us(self) -> tuple[int, int]:
        """Since when, and how far ahead of its record, an event may have happened."""
        return (self.since - _EPOCH).days * 86_400_000_000, int(self.ahead_s * 1e6)

    @functools.cached_property
    def _unit(self) -> tuple[int, int]:
        return self._unit_of(self.time)

    def _unit_of(self, name: str | None) -> tuple[int, int]:
        return _MICROSECONDS.get(self._logical_type_of(name) or "", (1, 1))

    def _logical_type_of(self, name: str | None) -> str | None:
        for field in self.history[self.version]["fields"]:
            if field["name"] == name:
                for branch in _listed(field["type"]):
                    if isinstance(branch, dict) and "logicalType" in branch:
                        return str(branch["logicalType"])
        return None

    def _symbols(self, name: str) -> tuple[str, ...]:
        named = self.parsed["__named_schemas"]
        (branches,) = (_listed(field["type"]) for field in self.parsed["fields"] if field["name"] == name)
        enums = (branch if isinstance(branch, dict) else named.get(branch, {}) for branch in branches)
        return tuple(symbol for each in enums for symbol in each.get("symbols", ()))

    def _in_clear(self, path: str, name: str, what: str) -> Iterator[Mistake]:
        if name in self.pii:
            says = f"field {name!r} is personal, and {what} stands in clear on every topic"
            yield Mistake(path, says, "take another field")

    def _field(self, path: str, name: str, kinds: set[str], wanted: str) -> Iterator[Mistake]:
        if name not in self.fields:
            yield Mistake(path, f"the schema has no field {name!r}", nearest(name, self.fields))
        elif not self.kinds(name) <= kinds:
            yield Mistake(path, f"field {name!r} is {' or '.join(sorted(self.kinds(name)))}", f"must be {wanted}")

    def kinds(self, field: str) -> frozenset[str]:
        """Return the Avro types that a field's values have, "null" left out; empty for a field not known."""
        return self._branches.get(field, frozenset()) - {"null"}

    @functools.cached_property
    def _branches(self) -> Mapping[str, frozenset[str]]:
        named: dict[str, str] = {}
        found = {}
        for field in self.parsed["fields"]:
            found[field["name"]] = frozenset(_kind(branch, named) for branch in _listed(field["type"]))
        return found


def _listed(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _kind(schema: Any, named: dict[str, str]) -> str:
    if isinstance(schema, str):
        return named.get(schema, schema)
    kind = schema["type"]
    if "name" in schema:
        named[schema["name"]] = kind
    # Types may be named deep inside one field, and used again in the next.
    within = [field["type"] for field in schema.get("fields", ())]
    within += [schema[part] for part in ("items", "values") if part in schema]
    for inner in within:
        for branch in _listed(inner):
            _kind(branch, named)
    return str(kind) if isinstance(kind, str) else _kind(kind, named)
