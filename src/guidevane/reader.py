"""Avro read by a function made for one schema, as :mod:`guidevane.writer` writes it.

fastavro's decoder is compiled, and looks at the schema again for each value: 10 to 20 us for an event of twenty fields
here (decision 0012). Here the schema is looked at once, and becomes the source of one Python function. It reads what
is right and plain; where anything is odd (a value past the end, an unknown branch, a negative count, bytes left over, a
schema with logical types or a type used again by its name) it gives up, and fastavro reads it or says what is wrong.
"""

from __future__ import annotations

import struct
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import TypeAlias

    Read: TypeAlias = Callable[[bytes, int], dict[str, Any]]
    Cutter: TypeAlias = Callable[[bytes, int], tuple[dict[str, Any], tuple[int, ...]]]

_BYTE = 0x80
# Nine groups of seven bits hold 63: what is longer, fastavro may read.
_GROUPS = 9
# The bits that say that more follows, in eight bytes.
_HIGH = 0x8080808080808080
# What one byte says: zigzag.
_SHORT = tuple((n >> 1) ^ -(n & 1) for n in range(_BYTE))
# The same for 0 to 63, as bytes; what is below zero or takes more bytes is no ASCII then.
_LOW = bytes(n >> 1 if n < _BYTE and not n & 1 else 0xFF for n in range(256))
_RUN = 3
_INT = 1 << 31


class Odd(Exception):
    """What is read is not plain and right: somebody else must look at it."""


# All that bytes can do to the function. What else it raises is a bug of ours.
GIVEN_UP = (Odd, IndexError, ValueError, struct.error)


def reader(schema: Mapping[str, Any]) -> Read | None:
    r"""Return what reads a record from an offset to the end of its bytes, or ``None`` where fastavro must.

    It raises one of ``GIVEN_UP`` for bytes that it does not know to be right.

    >>> read = reader({"type": "record", "name": "ping", "fields": [{"name": "host", "type": "string"}]})
    >>> read(b"\x02a", 0)
    {'host': 'a'}
    """
    source = Source()
    try:
        made = source.record(schema, (), "    ")
    except Foreign:
        return None
    read: Read = source.made(made)
    return read


def cutter(schema: Mapping[str, Any], fields: Collection[str]) -> Cutter | None:
    r"""Return what reads as :func:`reader` does, and tells where these fields begin and end, in the schema's order.

    >>> ping = {"type": "record", "name": "ping", "fields": [{"name": "host", "type": "string"}]}
    >>> cutter(ping, ["host"])(b"\x00\x02a", 1)
    ({'host': 'a'}, (1, 3))
    """
    source = Source(fields)
    try:
        made = source.record(schema, (), "    ")
    except Foreign:
        return None
    cut: Cutter = source.made(f"{made}, ({''.join(f'{place}, ' for place in source.places)})")
    return cut


class Foreign(Exception):
    """The schema has what is not read here."""


def more(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return the number whose first byte, before ``at``, says that more follow; and where it ends."""
    second = data[at]
    if second < _BYTE:
        # Two bytes: the most of what is more than one.
        number = first & 0x7F | second << 7
        return (number >> 1) ^ -(number & 1), at + 1
    third = data[at + 1]
    if third < _BYTE:
        # Three: what a member or a queue takes, in microseconds.
        number = first & 0x7F | (second & 0x7F) << 7 | third << 14
        return (number >> 1) ^ -(number & 1), at + 2
    number = int.from_bytes(data[at - 1 : at + 7], "little")
    if number & _HIGH == _HIGH >> 8:
        # Eight bytes, as a time of our days in microseconds takes: the groups are pushed together, two by two.
        number = number & 0x007F007F007F007F | number >> 1 & 0x3F803F803F803F80
        number = number & 0x00003FFF00003FFF | number >> 2 & 0x0FFFC0000FFFC000
        number = number & 0x0FFFFFFF | number >> 4 & 0xFFFFFFF0000000
        return (number >> 1) ^ -(number & 1), at + 7
    number, shift = first & 0x7F, 7
    for _ in range(_GROUPS - 1):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < _BYTE:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    raise Odd


def narrow(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return what :func:`more` does, for an int: one of more than 32 bits is odd."""
    number, at = more(data, at, first)
    if not -_INT <= number < _INT:
        raise Odd
    return number, at


_MORE = {"int": "narrow", "long": "more"}


class Source:
    """The lines of the function that are written so far, and the names that they use.

    ``places`` are the names of where the ``cut`` fields of the outermost record begin and end.
    """

    def __init__(self, cut: Collection[str] = ()) -> None:
        self.lines: list[str] = []
        self.places: list[str] = []
        self._cut = frozenset(cut)
        self.names: dict[str, Any] = {
            "__builtins__": {"len": len, "range": range},
            "short": _SHORT, "more": more, "narrow": narrow, "Odd": Odd,
            "low": _LOW, "float32": struct.Struct("<f").unpack_from, "float64": struct.Struct("<d").unpack_from,
        }  # fmt: skip
        self._count = 0

    def made(self, result: str) -> Any:
        """Return the function: its lines, nothing left behind them, and the expression of its result."""
        body = "\n".join(self.lines)
        text = f"def read(d, i):\n    end = len(d)\n{body}\n    if i != end: raise Odd\n    return {result}\n"
        # As dataclasses and namedtuple do it: the only text that is run is made here, names are quoted.
        exec(text, self.names)  # noqa: S102
        return self.names["read"]

    def record(self, schema: Mapping[str, Any], within: tuple[str, ...], pad: str) -> str:
        """Write the lines that read a record; return the expression that makes it."""
        if schema["type"] not in {"record", "error"} or schema["name"] in within:
            raise Foreign
        here = (*within, schema["name"])
        cut = self._cut if not within else frozenset[str]()
        parts: list[str] = []

        def kind(field: Mapping[str, Any]) -> tuple[bool, str]:
            return field["type"] in ("int", "long"), field["name"] if field["name"] in cut else ""

        for (whole, alone), together in groupby(schema["fields"], key=kind):
            fields = list(together)
            if alone:
                self._place(pad)
            names = self.side_by_side([field["type"] for field in fields], here, pad, whole=whole)
            if alone:
                self._place(pad)
            parts += [f"{field['name']!r}: {name}" for field, name in zip(fields, names, strict=True)]
        return f"{{{', '.join(parts)}}}"

    def _place(self, pad: str) -> None:
        self.places.append(self._fresh("p"))
        self._write(pad, f"{self.places[-1]} = i")

    def side_by_side(self, types: Sequence[Any], within: tuple[str, ...], pad: str, *, whole: bool) -> list[str]:
        """Write the lines that read values side by side, together where they are many whole numbers."""
        if whole and len(types) >= _RUN:
            return self._numbers(types, pad)
        return [self.value(each, within, pad) for each in types]

    def value(  # noqa: PLR0911 - one for each kind of type
        self, schema: Any, within: tuple[str, ...], pad: str
    ) -> str:
        """Write the lines that read one value; return its name."""
        if isinstance(schema, list):
            return self._union(schema, within, pad)
        if isinstance(schema, dict) and "logicalType" in schema:
            raise Foreign
        kind = schema["type"] if isinstance(schema, dict) else schema
        match kind:
            case dict():
                return self.value(kind, within, pad)
            case "null":
                return "None"
            case "boolean":
                return self._boolean(pad)
            case "int" | "long":
                return self._number(pad, kind)
            case "float" | "double":
                return self._float(kind, pad)
            case "bytes" | "string":
                return self._text(kind, pad)
            case "enum":
                at, out = self._number(pad), self._fresh("v")
                # Below zero, Python would count from the end.
                self._write(pad, f"if {at} < 0: raise Odd", f"{out} = {self._bind(tuple(schema['symbols']))}[{at}]")
                return out
            case "record" | "error":
                out = self._fresh("v")
                self._write(pad, f"{out} = {self.record(schema, within, pad)}")
                return out
            case "array" | "map":
                return self._items(schema, kind, within, pad)
        raise Foreign

    def _number(self, pad: str, kind: str = "long") -> str:
        out = self._fresh("v")
        self._write(
            pad, f"{out} = d[i]", "i += 1", f"if {out} < {_BYTE}: {out} = short[{out}]",
            f"else: {out}, i = {_MORE[kind]}(d, i, {out})",
        )  # fmt: skip
        return out

    def _numbers(self, kinds: Sequence[str], pad: str) -> list[str]:
        """Write the lines that read several numbers: all at once where they are small, as codes and counts are."""
        run, inner, count = self._fresh("r"), f"{pad}    ", len(kinds)
        names = [self._fresh("v") for _ in kinds]
        self._write(
            pad, f"{run} = d[i : i + {count}].translate(low)", f"if {run}.isascii():",
            f"    {', '.join(names)} = {run}", f"    i += {count}", "else:",
        )  # fmt: skip
        for name, kind in zip(names, kinds, strict=True):
            self._write(
                inner, f"{name} = d[i]", "i += 1", f"if {name} < {_BYTE}: {name} = short[{name}]",
                f"else: {name}, i = {_MORE[kind]}(d, i, {name})",
            )  # fmt: skip
        return names

    def _boolean(self, pad: str) -> str:
        out = self._fresh("v")
        self._write(pad, f"{out} = d[i]", "i += 1", f"if {out} > 1: raise Odd", f"{out} = {out} == 1")
        return out

    def _float(self, kind: str, pad: str) -> str:
        out, width = self._fresh("v"), 4 if kind == "float" else 8
        self._write(pad, f"{out}, = float{8 * width}(d, i)", f"i += {width}")
        return out

    def _text(self, kind: str, pad: str) -> str:
        size, out = self._number(pad), self._fresh("v")
        end = f"{size} + i"
        decoded = ".decode()" if kind == "string" else ""
        self._write(
            pad, f"{size} = {end}", f"if not i <= {size} <= end: raise Odd", f"{out} = d[i:{size}]{decoded}",
            f"i = {size}",
        )  # fmt: skip
        return out

    def _union(self, schema: list[Any], within: tuple[str, ...], pad: str) -> str:
        if len(schema) > _BYTE >> 1:
            raise Foreign
        branch, out = self._fresh("b"), self._fresh("u")
        self._write(pad, f"{branch} = d[i]", "i += 1")
        for place, kind in enumerate(schema):
            self._write(pad, f"{'elif' if place else 'if'} {branch} == {place << 1}:")
            self._write(f"{pad}    ", f"{out} = {self.value(kind, within, f'{pad}    ')}")
        self._write(pad, "else: raise Odd")
        return out

    def _items(self, schema: Any, kind: str, within: tuple[str, ...], pad: str) -> str:
        """Write the lines that read blocks of items, up to the empty one that ends them."""
        out, inner, deep = self._fresh("a"), f"{pad}    ", f"{pad}        "
        self._write(pad, f"{out} = {'[]' if kind == 'array' else '{}'}", "while True:")
        count = self._number(inner)
        # Blocks that tell their size, and those that cannot be: more items than bytes.
        self._write(inner, f"if {count} == 0: break", f"if not 0 < {count} <= end: raise Odd")
        self._write(inner, f"for {self._fresh('n')} in range({count}):")
        if kind == "array":
            self._write(deep, f"{out}.append({self.value(schema['items'], within, deep)})")
        else:
            key = self._text("string", deep)
            self._write(deep, f"{out}[{key}] = {self.value(schema['values'], within, deep)}")
        return out

    def _write(self, pad: str, *lines: str) -> None:
        self.lines += [pad + line for line in lines]

    def _bind(self, value: object) -> str:
        name = self._fresh("k")
        self.names[name] = value
        return name

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"
