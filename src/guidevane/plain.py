"""Plain JSON values to what Avro would have decoded, by a schema.

Plain means as people write JSON, not the Avro specification's JSON encoding: no union tags, bytes in base64.
Unknown fields are passed over, and counted; a field may have a former name (``aliases``), as in Avro; missing ones take
the schema's default.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from guidevane.errors import Reject
from guidevane.schema import own
from guidevane.skim import MAX_DEPTH, MAX_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[Any, int], Any]

_LIMITS = {"int": 1 << 31, "long": 1 << 63}
_LARGEST_FLOAT = 3.4028234663852886e38


class _Unfit(Exception):
    """A value does not fit; ``path`` grows outwards while it is raised."""

    def __init__(self, cause: str, says: str, path: str = "") -> None:
        super().__init__(says)
        self.cause = cause
        self.says = says
        self.path = path


class PlainJson:
    """Reads parsed JSON by one schema, as :func:`guidevane.schema.make` parsed it.

    ``unknown_fields`` counts what was passed over.

    >>> read = PlainJson({"type": "record", "name": "P", "fields": [{"name": "x", "type": "double"}]})
    >>> read({"x": 1, "y": 2}), read.unknown_fields
    ({'x': 1.0}, 1)
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.unknown_fields = 0
        self._named: dict[str, Read] = {}
        self._shapes: dict[str, Mapping[str, Any]] = {}
        self._read = self._reader(schema)

    def __call__(self, value: object) -> dict[str, Any]:
        """Return the record. Raises ``Reject``: "missing_field", "wrong_type", "out_of_range", "decode_budget"."""
        try:
            record: dict[str, Any] = self._read(value, 0)
        except _Unfit as wrong:
            where = f"field {wrong.path!r}" if wrong.path else "the event"
            raise Reject(wrong.cause, f"{where} {wrong.says}") from None
        return record

    def _reader(self, schema: Any) -> Read:  # noqa: PLR0911 - any schema, one answer a kind
        if isinstance(schema, list):
            return self._union(schema)
        if isinstance(schema, str):
            if schema in self._shapes:
                # Looked up late: within itself, a recursive record is not built yet.
                return lambda value, depth: self._named[schema](value, depth)  # noqa: PLW0108
            return _PRIMITIVES[schema]
        kind = schema["type"]
        if "name" in schema:
            self._shapes[schema["name"]] = schema
        match kind:
            case "record" | "error":
                read = self._record(schema)
            case "enum":
                read = _enum(schema["symbols"])
            case "fixed":
                read = _fixed(schema["size"])
            case "array":
                return _array(self._reader(schema["items"]))
            case "map":
                return _map(self._reader(schema["values"]))
            case _:
                return self._reader(kind)
        self._named[schema["name"]] = read
        return read

    def _record(self, schema: Mapping[str, Any]) -> Read:
        plan = [(field["name"], field.get("aliases", ()), self._reader(field["type"])) for field in schema["fields"]]
        defaults = {field["name"]: field["default"] for field in schema["fields"] if "default" in field}

        def read(value: Any, depth: int) -> dict[str, Any]:
            if type(value) is not dict:
                raise _wrong_type("an object", value)
            if depth >= MAX_DEPTH:
                raise _Unfit("decode_budget", f"is nested more than {MAX_DEPTH} deep")
            found = {}
            filled = 0
            name = ""
            try:
                for name, aliases, read_field in plan:
                    if name in value:
                        found[name] = read_field(value[name], depth + 1)
                    elif aliases and (former := next((each for each in aliases if each in value), None)) is not None:
                        found[name] = read_field(value[former], depth + 1)
                    elif name in defaults:
                        found[name] = own(defaults[name])
                        filled += 1
                    else:
                        raise _Unfit("missing_field", "is missing, and has no default")  # noqa: TRY301 - needs its path
            except _Unfit as wrong:
                wrong.path = f"{name}.{wrong.path}" if wrong.path else name
                raise
            self.unknown_fields += len(value) + filled - len(found)
            return found

        return read

    def _union(self, branches: list[Any]) -> Read:
        others = [(self._shape(branch), self._reader(branch)) for branch in branches if branch != "null"]
        nullable = "null" in branches
        if len(others) == 1:
            only = others[0][1]
            if not nullable:
                return only
            return lambda value, depth: None if value is None else only(value, depth)

        def read(value: Any, depth: int) -> Any:
            if value is None and nullable:
                return None
            # Chosen by its outside alone: trying whole branches would cost 2^depth in a recursive union.
            for fits, branch in others:
                if fits(value):
                    return branch(value, depth)
            raise _wrong_type("of one of the union's types", value)

        return read

    def _kind(self, schema: Any) -> str:
        while isinstance(schema, dict):
            schema = schema["type"]
        return self._kind(self._shapes[schema]) if schema in self._shapes else str(schema)

    def _shape(self, schema: Any) -> Callable[[Any], bool]:
        kind = self._kind(schema)
        whole = schema if isinstance(schema, dict) else self._shapes.get(schema, {})
        if kind in {"record", "error"}:
            needed = [{field["name"], *field.get("aliases", ())} for field in whole["fields"] if "default" not in field]
            return lambda value: type(value) is dict and not any(map(value.keys().isdisjoint, needed))
        if kind == "enum":
            symbols = set(whole["symbols"])
            return lambda value: type(value) is str and value in symbols
        if kind in _LIMITS:
            limit = _LIMITS[kind]
            return lambda value: type(value) is int and -limit <= value < limit
        outside = _OUTSIDES[kind]
        return lambda value: type(value) in outside


_OUTSIDES: dict[str, set[type]] = {
    "boolean": {bool},
    "float": {int, float},
    "double": {int, float},
    "string": {str},
    "bytes": {str},
    "fixed": {str},
    "array": {list},
    "map": {dict},
}


def _wrong_type(wanted: str, value: object) -> _Unfit:
    return _Unfit("wrong_type", f"must be {wanted}, got {value!r:.60}")


def _integer(kind: str) -> Read:
    limit = _LIMITS[kind]

    def read(value: Any, _depth: int) -> int:
        # Not isinstance: a bool is an int to Python, and nowhere else.
        if type(value) is not int:
            raise _wrong_type(f"an integer ({kind})", value)
        if not -limit <= value < limit:
            raise _Unfit("out_of_range", f"must fit {kind}, got {value}")
        return value

    return read


def _double(value: Any, _depth: int) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise _wrong_type("a number", value)


def _float(value: Any, depth: int) -> float:
    number = _double(value, depth)
    if abs(number) > _LARGEST_FLOAT:
        raise _Unfit("out_of_range", f"must fit a float of 32 bits, got {number}")
    return number


def _string(value: Any, _depth: int) -> str:
    if type(value) is not str:
        raise _wrong_type("a string", value)
    return value


def _boolean(value: Any, _depth: int) -> bool:
    if type(value) is not bool:
        raise _wrong_type("true or false", value)
    return value


def _null(value: Any, _depth: int) -> None:
    if value is not None:
        raise _wrong_type("null", value)


def _bytes(value: Any, _depth: int) -> bytes:
    if type(value) is str:
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except ValueError:
            raise _wrong_type("bytes in base64", value) from None
    raise _wrong_type("bytes in base64", value)


def _fixed(size: int) -> Read:
    def read(value: Any, depth: int) -> bytes:
        found = _bytes(value, depth)
        if len(found) != size:
            raise _wrong_type(f"{size} bytes in base64", value)
        return found

    return read


def _enum(symbols: list[str]) -> Read:
    known = set(symbols)

    def read(value: Any, _depth: int) -> str:
        if type(value) is not str or value not in known:
            raise _wrong_type(f"one of {', '.join(symbols)}", value)
        return value

    return read


def _array(read_item: Read) -> Read:
    def read(value: Any, depth: int) -> list[Any]:
        if type(value) is not list:
            raise _wrong_type("an array", value)
        if len(value) > MAX_VALUES:
            raise _Unfit("decode_budget", f"has {len(value)} items, at most {MAX_VALUES} are read")
        found: list[Any] = []
        try:
            # extend keeps what was read before an item failed, and so tells its index.
            found.extend(read_item(item, depth + 1) for item in value)
        except _Unfit as wrong:
            wrong.path = f"[{len(found)}]" + (f".{wrong.path}" if wrong.path else "")
            raise
        return found

    return read


def _map(read_value: Read) -> Read:
    def read(value: Any, depth: int) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong_type("an object", value)
        if len(value) > MAX_VALUES:
            raise _Unfit("decode_budget", f"has {len(value)} entries, at most {MAX_VALUES} are read")
        found = {}
        key = ""
        try:
            for key, item in value.items():
                found[key] = read_value(item, depth + 1)
        except _Unfit as wrong:
            wrong.path = f"{key:.60}" + (f".{wrong.path}" if wrong.path else "")
            raise
        return found

    return read


_PRIMITIVES: dict[str, Read] = {
    "null": _null,
    "boolean": _boolean,
    "int": _integer("int"),
    "long": _integer("long"),
    "float": _float,
    "double": _double,
    "string": _string,
    "bytes": _bytes,
}
