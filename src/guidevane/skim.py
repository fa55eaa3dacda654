"""A walk over Avro bytes that builds nothing, to bound what decoding them would cost.

A decoder trusts counts: five bytes can ask it for 10^8 nulls, and 20,000 bytes of a recursive record run it out of
C stack, which kills the process. The walk meets the same counts first, and has a budget for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from guidevane.errors import Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_VALUES = 100_000
MAX_DEPTH = 64

_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_LONGEST_VARINT = 10


class _Node(NamedTuple):
    """What to skip: ``kind`` with its width, its branches, fields (last first) or item, or its count of symbols."""

    kind: str
    width: int = 0
    parts: list[_Node] = []  # noqa: RUF012 - filled once, while a recursive schema is read
    symbols: int = 0


def skimmer(schema: Mapping[str, Any]) -> Callable[[bytes, int], None] | None:
    """Return a check of a payload from an offset on, or ``None`` where no bytes can cost more than their length.

    The check raises ``Reject``: "decode_budget" past 100,000 values or 64 nested records, "truncated", "malformed",
    "trailing_bytes".
    """
    named: dict[str, _Node] = {}
    seen: set[str] = set()
    root = _compile(schema, named, seen)
    if not seen:
        return None

    def check(payload: bytes, start: int) -> None:
        end = _walk(root, payload, start)
        if end != len(payload):
            raise Reject("trailing_bytes", f"{len(payload) - end} bytes follow the record")

    return check


def _compile(schema: Any, named: dict[str, _Node], costly: set[str]) -> _Node:  # noqa: PLR0911 - any schema
    if isinstance(schema, list):
        return _Node("union", parts=[_compile(branch, named, costly) for branch in schema])
    if isinstance(schema, str):
        if schema in named:
            # A name used again within itself is recursion; used again after it, it costs nothing to walk.
            costly.add(schema)
            return named[schema]
        return _primitive(schema)
    match schema["type"]:
        case "record" | "error":
            node = named[schema["name"]] = _Node("record", parts=[])
            # In their order: a type that one field names is known to those after it.
            node.parts.extend([_compile(field["type"], named, costly) for field in schema["fields"]][::-1])
            return node
        case "enum":
            node = named[schema["name"]] = _Node("enum", symbols=len(schema["symbols"]))
            return node
        case "fixed":
            node = named[schema["name"]] = _Node("fixed", width=schema["size"])
            return node
        case "array" | "map" as kind:
            costly.add(kind)
            item = _compile(schema["items" if kind == "array" else "values"], named, costly)
            return _Node(kind, parts=[item if kind == "array" else _Node("entry", parts=[item, _Node("bytes")])])
        case inner:
            return _compile(inner, named, costly)


def _primitive(name: str) -> _Node:
    if name in _FIXED:
        return _Node("fixed", width=_FIXED[name])
    return _Node("varint" if name in {"int", "long"} else "bytes")


class _Repeat(NamedTuple):
    node: _Node
    times: int


_LEAVE = _Node("leave")


def _walk(root: _Node, data: bytes, at: int) -> int:  # noqa: C901, PLR0912, PLR0915 - one loop, no call per value
    size = len(data)
    values = depth = 0
    ahead: list[_Node | _Repeat] = [root]
    while ahead:
        step = ahead.pop()
        if isinstance(step, _Repeat):
            item, times = step
            if item.kind == "fixed":
                # Refused by size below, so that a huge count of doubles costs no more than a small one.
                at += item.width * times
                if at > size:
                    raise Reject("truncated", f"the record needs {at - size} more bytes")
                continue
            if item.kind == "varint":
                at = _varints(data, at, times)
                continue
            if times > 1:
                ahead.append(_Repeat(item, times - 1))
            node = item
        else:
            node = step
            values += 1
            if values > MAX_VALUES:
                raise Reject("decode_budget", f"more than {MAX_VALUES} values in one event")
        kind = node.kind
        if kind == "fixed":
            at += node.width
            if at > size:
                raise Reject("truncated", f"the record needs {at - size} more bytes")
        elif kind == "leave":
            depth -= 1
        elif kind == "record":
            depth += 1
            if depth > MAX_DEPTH:
                raise Reject("decode_budget", f"more than {MAX_DEPTH} records within each other")
            ahead.append(_LEAVE)
            ahead.extend(node.parts)
        elif kind == "entry":
            ahead.extend(node.parts)
        else:
            if at < size and data[at] < 0x80:  # noqa: PLR2004 - most numbers are of one byte
                number = (data[at] >> 1) ^ -(data[at] & 1)
                at += 1
            else:
                number, at = _varint(data, at, size)
            if kind == "bytes":
                at = _skip(at, number, size)
            elif kind == "union":
                if not 0 <= number < len(node.parts):
                    raise Reject("malformed", f"a union of {len(node.parts)} has no branch {number}")
                ahead.append(node.parts[number])
            elif kind == "enum":
                if not 0 <= number < node.symbols:
                    raise Reject("malformed", f"an enum of {node.symbols} has no symbol {number}")
            elif kind in {"array", "map"} and number:
                if number < 0:
                    number = -number
                    _, at = _varint(data, at, size)
                # Booked here and not item by item: items may take no bytes at all.
                values += number
                if values > MAX_VALUES:
                    raise Reject("decode_budget", f"{kind} of {number} items in one event")
                ahead.append(node)
                ahead.append(_Repeat(node.parts[0], number))
    return at


def _varints(data: bytes, at: int, times: int) -> int:
    try:
        for _ in range(times):
            while data[at] >= 0x80:  # noqa: PLR2004 - the continuation bit
                at += 1
            at += 1
    except IndexError:
        raise Reject("truncated", "the record ends within an array of numbers") from None
    return at


def _varint(data: bytes, at: int, size: int) -> tuple[int, int]:
    shift = bits = 0
    while at < size:
        byte = data[at]
        at += 1
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return (bits >> 1) ^ -(bits & 1), at
        shift += 7
        if shift >= 7 * _LONGEST_VARINT:
            raise Reject("malformed", "a number of more than ten bytes")
    raise Reject("truncated", "the record ends within a number")


def _skip(at: int, length: int, size: int) -> int:
    if length < 0:
        raise Reject("malformed", f"a length of {length}")
    if at + length > size:
        raise Reject("truncated", f"the record needs {at + length - size} more bytes")
    return at + length
