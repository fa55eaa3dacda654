"""Avro of which only some fields are read, by a function made for one schema and them.

Whoever looks at a third of an event need not pay for all of it: what nobody asked for is stepped over, most of it by
one look of a compiled pattern, and what follows the last field that is asked for is not looked at. Maps that end a
record (versions of models, protected attributes) are few, and the same again and again: their bytes are looked up.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from guidevane.reader import Foreign, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    Pick: TypeAlias = Callable[[bytes, int], tuple[Any, ...]]

REMEMBERED: Final = 4096
"""Endings that are remembered; what comes then makes room for itself by all of them."""
_WHOLE: Final = ("int", "long")
_WIDTH: Final = {"null": 0, "boolean": 1, "float": 4, "double": 8}


def picker(schema: Mapping[str, Any], names: Sequence[str]) -> Pick | None:
    r"""Return what reads these fields of a record from an offset on, in their order; ``None`` where fastavro must.

    It is for records that our own rooms wrote: what is stepped over is not checked. It raises one of ``GIVEN_UP`` of
    :mod:`guidevane.reader` for bytes that it does not know to be right. Maps that it returns are shared: they are not
    to be changed.

    >>> fields = [{"name": name, "type": "string"} for name in ("host", "zone", "rack")]
    >>> picker({"type": "record", "name": "ping", "fields": fields}, ["zone"])(b"\x02a\x02b\x02c", 0)
    ('b',)
    """
    source = _Picking()
    try:
        made = source.picked(schema, names)
    except Foreign:
        return None
    body = "\n".join(source.lines)
    text = f"def pick(d, i):\n    end = len(d)\n{body}\n    if i > end: raise Odd\n    return ({made},)\n"
    # As in :func:`guidevane.reader.reader`: the only text that is run is made here, names are quoted.
    exec(text, source.names)  # noqa: S102
    found: Pick = source.names["pick"]
    return found


class _Picking(Source):
    """The lines that read what is asked for and step over the rest."""

    def picked(self, schema: Mapping[str, Any], names: Sequence[str]) -> str:
        """Write the lines that read the fields of these names; return what makes the tuple."""
        within, pad = (schema["name"],), "    "
        fields, ending = parted(schema, names)
        made: dict[str, str] = {}

        def kind(field: Mapping[str, Any]) -> tuple[bool, bool]:
            return field["name"] in names, field["type"] in _WHOLE

        for (wanted, whole), together in groupby(fields, key=kind):
            run = list(together)
            if not wanted:
                self.past([field["type"] for field in run], within, pad)
            else:
                read = self.side_by_side([each["type"] for each in run], within, pad, whole=whole)
                made |= {field["name"]: value for field, value in zip(run, read, strict=True)}
        if ending:
            made |= self._ending(ending, within, pad)
        return ", ".join(made[name] for name in names)

    def _ending(self, fields: Sequence[Mapping[str, Any]], within: tuple[str, ...], pad: str) -> dict[str, str]:
        rest, found, inner = self._fresh("t"), self._fresh("g"), f"{pad}    "
        known: dict[bytes, tuple[Any, ...]] = {}
        memory = self._bind(known)
        self._write(pad, f"{rest} = d[i:]", f"{found} = {memory}.get({rest})", f"if {found} is None:")
        values = [self.value(field["type"], within, inner) for field in fields]
        self._write(
            inner, "if i != end: raise Odd", f"if len({memory}) >= {REMEMBERED}: {memory}.clear()",
            f"{found} = {memory}[{rest}] = ({', '.join(values)},)",
        )  # fmt: skip
        return {field["name"]: f"{found}[{place}]" for place, field in enumerate(fields)}

    def past(self, schemas: Sequence[Any], within: tuple[str, ...], pad: str) -> None:
        """Write the lines that step over values of these types."""
        for varint, together in groupby(schemas, key=_is_varint):
            run = list(together)
            if varint:
                self._past_varints(len(run), pad)
            else:
                for schema in run:
                    self._past(schema, within, pad)

    def _past_varints(self, count: int, pad: str) -> None:
        found = self._fresh("m")
        step = self._bind(re.compile(rb"(?:[\x80-\xff]{0,9}[\x00-\x7f]){%d}" % count).match)
        self._write(pad, f"{found} = {step}(d, i)", f"if {found} is None: raise Odd", f"i = {found}.end()")

    def _past(self, schema: Any, within: tuple[str, ...], pad: str) -> None:
        if isinstance(schema, list):
            self._past_union(schema, within, pad)
            return
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict):
            self._past(kind, within, pad)
        elif kind in _WIDTH and kind is schema:
            self._write(pad, *([f"i += {_WIDTH[kind]}"] if _WIDTH[kind] else []))
        elif kind in {"bytes", "string"}:
            size = self._number(pad)
            self._write(pad, f"if not 0 <= {size} <= end - i: raise Odd", f"i += {size}")
        else:
            # Rare in what rooms write: read, and not kept. What cannot be read is left to fastavro there.
            self.value(schema, within, pad)

    def _past_union(self, schema: list[Any], within: tuple[str, ...], pad: str) -> None:
        branch = self._number(pad)
        for place, kind in enumerate(schema):
            self._write(pad, f"{'elif' if place else 'if'} {branch} == {place}:")
            inner = f"{pad}    "
            if kind == "null":
                self._write(inner, "pass")
            else:
                self.past([kind], within, inner)
        self._write(pad, "else: raise Odd")


def parted(schema: Mapping[str, Any], names: Sequence[str]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return a record's fields up to the last of these names, and apart from them the maps that end it."""
    fields = list(schema["fields"])
    last = max(at for at, field in enumerate(fields) if field["name"] in names)
    fields = fields[: last + 1]
    tail = next((at for at in range(len(fields), 0, -1) if not _remembered(fields[at - 1], names)), 0)
    # Only where nothing follows is the rest of the bytes theirs alone.
    if last + 1 < len(schema["fields"]):
        tail = len(fields)
    return fields[:tail], fields[tail:]


def _is_varint(schema: Any) -> bool:
    return schema in _WHOLE


def _remembered(field: Mapping[str, Any], names: Sequence[str]) -> bool:
    kind = field["type"]
    return field["name"] in names and isinstance(kind, dict) and kind["type"] == "map" and kind["values"] == "string"
