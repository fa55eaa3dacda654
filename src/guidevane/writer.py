"""Avro written by a function made for one schema: what the hot path writes, it writes five times an event.

fastavro looks at the schema again for each value, and a prediction has thirty: 16 µs, a third of what an
event costs altogether (decision 0008). Here the schema is looked at once, and becomes the source of one
Python function. It writes the common part of Avro, in fastavro's own bytes, and refuses the rest: schemas
that it cannot write (logical types, unions of more than null and one more, a type used again by its name), and
values whose type is not the plain one. fastavro answers for both, so it stays the judge of what fits.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SEVEN = 0x7F
_LONG = 1 << 63
# Between these, zigzag takes eight bytes.
EIGHT_BYTES, NINE_BYTES = 1 << 49, 1 << 56
# All that a value can do to the function that does not fit it. What else it raises is a bug of ours.
UNFIT = (LookupError, TypeError, ValueError, AttributeError, OverflowError, struct.error)
_TYPES = {
    "boolean": "bool", "int": "int", "long": "int", "float": "float", "double": "float", "string": "str",
    "bytes": "bytes",
}  # fmt: skip

# The expression of a value's bytes, where its type needs no line of its own.
_PLAIN = {
    "null": "(b'' if {0} is None else odd({0}))",
    "boolean": "(b'\\x01' if {0} is True else b'\\x00' if {0} is False else odd({0}))",
    "int": "(long({0}) if -2147483648 <= {0} <= 2147483647 else odd({0}))",
    "long": "long({0})",
    "float": "(float32({0}) if type({0}) is float else odd({0}))",
    "double": "(float64({0}) if type({0}) is float else odd({0}))",
}  # fmt: skip


def writer(schema: Mapping[str, Any], prefix: bytes = b"") -> Callable[[Mapping[str, Any]], bytes] | None:
    r"""Return what writes bodies of a record schema behind ``prefix``, or ``None`` where fastavro must.

    It raises one of ``UNFIT`` for a body that it does not know to be right; fastavro then says whether it is.

    >>> write = writer({"type": "record", "name": "ping", "fields": [{"name": "host", "type": "string"}]})
    >>> write({"host": "a"})
    b'\x02a'
    >>> writer({"type": "record", "name": "at", "fields": [{"name": "t", "type": ["int", "string"]}]}) is None
    True
    """
    source = _Source()
    try:
        parts = source.record(schema, "body", (), source.lines)
    except _Foreign:
        return None
    body = "".join(f"    {line}\n" for line in source.lines)
    text = f"def write(body):\n{body}    return join(({source.bind(prefix)}, {', '.join(parts)},))\n"
    # As dataclasses and namedtuple do it: the only text that is run is made above, names are quoted.
    exec(text, source.names)  # noqa: S102
    found: Callable[[Mapping[str, Any]], bytes] = source.names["write"]
    return found


class _Foreign(Exception):
    """The schema has what is not written here."""


@lru_cache(maxsize=8192, typed=True)
def long(value: int) -> bytes:
    """Return an Avro int or long: zigzag, then seven bits a byte. An event's times are written four times each."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no int")
    if not -_LONG <= value < _LONG:
        raise OverflowError(f"{value} has more than 64 bits")
    left = (value << 1) ^ (value >> 63)
    if EIGHT_BYTES <= left < NINE_BYTES:
        # A time of our days in microseconds, written out: four of them an event, each new.
        return bytes((
            left & 127 | 128, left >> 7 & 127 | 128, left >> 14 & 127 | 128, left >> 21 & 127 | 128,
            left >> 28 & 127 | 128, left >> 35 & 127 | 128, left >> 42 & 127 | 128, left >> 49,
        ))  # fmt: skip
    out = bytearray()
    while left > _SEVEN:
        out.append(left & _SEVEN | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


# Lengths, by far the most of the numbers that are written. Who has more is written by fastavro.
SIZES = tuple(long(n) for n in range(1 << 14))

# 0 to 63 in Avro's zigzag; what takes more bytes is no ASCII then.
_SMALL = bytes(n << 1 if n < 1 << 6 else 0xFF for n in range(256))
_RUN = 3


def odd(value: object) -> bytes:
    """Refuse what is not of the plain type, or is an int of more than 32 bits: fastavro says whether it is right."""
    raise TypeError(f"{value!r} is not plain")


class _Source:
    """The lines of the function that are written so far, and the names that they use."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "__builtins__": {"len": len, "type": type, "TypeError": TypeError, "ValueError": ValueError, "bool": bool,
                             "int": int, "float": float, "str": str, "bytes": bytes, "dict": dict, "list": list},
            "join": b"".join, "long": long, "size": SIZES, "small": _SMALL, "odd": odd,
            "float32": struct.Struct("<f").pack, "float64": struct.Struct("<d").pack,
        }  # fmt: skip
        self._count = 0

    def bind(self, value: object) -> str:
        """Return a name for a constant."""
        name = self.fresh("k")
        self.names[name] = value
        return name

    def fresh(self, kind: str) -> str:
        """Return a name that nothing has yet."""
        self._count += 1
        return f"{kind}{self._count}"

    def record(self, schema: Mapping[str, Any], body: str, within: tuple[str, ...], lines: list[str]) -> list[str]:
        """Write the lines that take a record apart; return the expressions of its bytes, in order."""
        if schema["type"] not in {"record", "error"} or schema["name"] in within:
            raise _Foreign
        lines.append(f"if type({body}) is not dict: raise TypeError")
        parts: list[str] = []
        for whole, together in groupby(schema["fields"], key=lambda field: field["type"] in ("int", "long")):
            run: list[tuple[str, str]] = []
            for field in together:
                value = self.fresh("v")
                name = repr(field["name"])
                # fastavro's default for a field that is not there at all.
                has = f"{body}.get({name}, {self.bind(field['default'])})" if "default" in field else f"{body}[{name}]"
                lines.append(f"{value} = {has}")
                if whole:
                    run.append((field["type"], value))
                else:
                    parts += self.value(field["type"], value, (*within, schema["name"]), lines)
            each = [_PLAIN[kind].format(value) for kind, value in run]
            parts += [self.numbers([value for _, value in run], each, lines)] if len(run) >= _RUN else each
        return parts or ["b''"]

    def numbers(self, values: list[str], each: list[str], lines: list[str]) -> str:
        """Write several numbers at once where they are small, as codes and counts are; else each by its expression."""
        out = self.fresh("r")
        lines += [
            f"try: {out} = bytes(({', '.join(values)})).translate(small)", f"except ValueError: {out} = b'\\xff'",
            f"if not {out}.isascii(): {out} = join(({', '.join(each)}))",
        ]  # fmt: skip
        return out

    def value(  # noqa: PLR0911 - one for each kind of type
        self, schema: Any, value: str, within: tuple[str, ...], lines: list[str]
    ) -> list[str]:
        """Write the lines that one value needs, if any; return the expressions of its bytes."""
        if isinstance(schema, list):
            return [self.optional(schema, value, within, lines)]
        if isinstance(schema, dict) and "logicalType" in schema:
            raise _Foreign
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict):
            return self.value(kind, value, within, lines)
        if isinstance(kind, str) and kind in _PLAIN:
            return [_PLAIN[kind].format(value)]
        match kind:
            case "bytes" | "string":
                # What is no text has nothing to encode, and says so.
                plain = (
                    f"{value} = {value}.encode()"
                    if kind == "string"
                    else f"if type({value}) is not bytes: raise TypeError"
                )
                lines.append(plain)
                return [f"size[len({value})]", value]
            case "enum":
                return [f"{self.bind({symbol: long(i) for i, symbol in enumerate(schema['symbols'])})}[{value}]"]
            case "record" | "error":
                return self.record(schema, value, within, lines)
            case "array" | "map":
                return [self.items(schema, kind, value, within, lines)]
        raise _Foreign

    def optional(self, schema: list[Any], value: str, within: tuple[str, ...], lines: list[str]) -> str:
        """Write a union of null and one more: the branch, then the value."""
        others = [branch for branch in schema if branch != "null"]
        if len(schema) != 2 or len(others) != 1:  # noqa: PLR2004
            raise _Foreign
        branch = long(schema.index(others[0]))
        kind = others[0]["type"] if isinstance(others[0], dict) else others[0]
        out, inner = self.fresh("u"), list[str]()
        parts = self.value(others[0], value, within, inner)
        lines.append(f"if {value} is None: {out} = {long(schema.index('null'))!r}")
        lines.append("else:")
        # Which branch a value belongs to is fastavro's to say, but for the plainest.
        if (plain := _TYPES.get(kind) if isinstance(kind, str) else None) is not None:
            lines.append(f"    if type({value}) is not {plain}: raise TypeError")
        lines += [f"    {line}" for line in inner]
        lines.append(f"    {out} = {' + '.join([repr(branch), *parts])}")
        return out

    def items(self, schema: Any, kind: str, value: str, within: tuple[str, ...], lines: list[str]) -> str:
        """Write an array or a map: one block with its count, then the empty one that ends it."""
        out, item, inner = self.fresh("a"), self.fresh("i"), list[str]()
        lines.append(f"if type({value}) is not {'list' if kind == 'array' else 'dict'}: raise TypeError")
        lines.append(f"{out} = [size[len({value})]] if {value} else []")
        if kind == "array":
            parts = self.value(schema["items"], item, within, inner)
            lines.append(f"for {item} in {value}:")
        else:
            key = self.fresh("m")
            parts = self.value("string", key, within, inner)
            parts += self.value(schema["values"], item, within, inner)
            lines.append(f"for {key}, {item} in {value}.items():")
        lines += [f"    {line}" for line in inner]
        lines.append(f"    {out} += ({', '.join(parts)},)")
        lines.append(f"{out}.append(b'\\x00')")
        return f"join({out})"
