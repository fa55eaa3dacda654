"""Avro of many records, of which some fields are read, each as a column of all of them.

What :mod:`guidevane.picker` does for one record: here numpy goes from field to field through many side by side, which
takes a third of the time where they are some hundred. It reads what is right and plain in all of them, or gives up.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import count, groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from guidevane.coded import Coded
from guidevane.front import Front
from guidevane.picker import parted, picker
from guidevane.reader import GIVEN_UP, Foreign, Odd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from guidevane.coded import Column
    from guidevane.picker import Pick
    from guidevane.schema import Schema

    Read: TypeAlias = Callable[["Front"], Any]
    Step: TypeAlias = tuple[Sequence[str], Read]
    """Fields, and what reads a column for each; for none, what goes past some."""

FEWEST: Final = 64
"""Values from which on this takes less than reading them one by one."""
MOST_BYTES: Final = 16 << 20
"""All of them are copied, one behind another: so many bytes at the most, where one by one takes little of it anyway."""
_BYTE: Final = 0x80
_WHOLE: Final = ("int", "long")


class Columns:
    r"""Reads these fields of many values of a contract's own version, as a codec's picker reads them of one.

    ``within`` names another contract and its field of bytes: then that field's values are read, of values of the other
    contract. ``cut`` names fields, or runs of them by their first and last, of which :meth:`cut` tells where they lie.
    Maps are shared between records: they are not to be changed.

    >>> from guidevane.schema import make
    >>> fields = [{"name": name, "type": "string"} for name in ("host", "zone", "rack")]
    >>> ping = make("ping", 1, {"type": "record", "name": "ping", "fields": fields})
    >>> value = b"\0" + ping.id.to_bytes(4, "big") + b"\x02a\x02b\x02c"
    >>> Columns(ping, ["zone"])([value] * 100)["zone"][:3]
    ['b', 'b', 'b']
    """

    def __init__(
        self,
        schema: Schema,
        names: Sequence[str],
        *,
        within: tuple[Schema, str] | None = None,
        cut: Sequence[tuple[str, str]] = (),
    ) -> None:
        # None where one by one is the only way.
        self._steps: list[Step] | None = None
        with suppress(Foreign):
            self._steps = [*(_into(*within) if within else ()), *_through(schema, names, cut)]

    def __call__(self, values: Sequence[bytes | None]) -> dict[str, Column] | None:
        """Return the column of each field; ``None`` where one by one is the way: for few, or where one is not plain.

        Numbers of one kind are an array, enums and the maps that end a record are coded, all else is a list.
        """
        found = self.cut(values)
        return None if found is None else found.columns

    def cut(self, values: Sequence[bytes | None]) -> Cut | None:
        """Return the same, with where what was cut lies, and where the reading ended."""
        if self._steps is None or len(values) < FEWEST or None in values:
            return None
        some = cast("Sequence[bytes]", values)
        if sum(map(len, some)) > MOST_BYTES:
            return None
        front = Front(some)
        begin = front.at
        found: dict[str, Column] = {}
        try:
            for names, read in self._steps:
                columns = read(front)
                if names:
                    found.update(zip(names, columns, strict=True))
            front.check()
        except GIVEN_UP:
            return None
        places = [(place - begin).tolist() for place in front.places]
        return Cut(found, tuple(zip(places[::2], places[1::2], strict=True)), front.at - begin)


class Cut(NamedTuple):
    """Columns by field; where in its value each thing that was cut begins and ends, and the reading ended, int64[n].

    The maps that end a record are not gone through: of a value that ends with them, ``end`` is where they begin.
    """

    columns: dict[str, Column]
    places: tuple[tuple[list[int], list[int]], ...]
    end: NDArray[np.int64]


_NUMBER: Final[Mapping[str, Callable[[Front], NDArray[np.int64]]]] = {"int": Front.narrow, "long": Front.number}


def _own(schema: Schema) -> int:
    return int.from_bytes(b"\0" + schema.id.to_bytes(4, "big"), "little")


def _into(schema: Schema, name: str) -> Iterator[Step]:
    """Yield the steps to what a field holds."""
    _picker(schema.parsed, [name])
    yield (), partial(Front.frame, own=_own(schema))
    (*before, _), _ = parted(schema.parsed, [name])
    for field in before:
        yield (), _reading(field["type"], past=True)
    yield (), Front.enter


def _through(schema: Schema, names: Sequence[str], cut: Sequence[tuple[str, str]]) -> Iterator[Step]:
    """Yield the steps through a record, up to the last of these fields, with marks around what is cut."""
    # What cannot be picked is decoded, and so looked at as a whole: not here.
    _picker(schema.parsed, names)
    fields, ending = parted(schema.parsed, names)
    yield (), partial(Front.frame, own=_own(schema))

    firsts, lasts = {first for first, _ in cut}, {last for _, last in cut}
    parts = count()

    def kind(field: Mapping[str, Any]) -> tuple[bool, bool, int]:
        # A number that begins or ends what is cut is not read with those before or behind it.
        alone = field["name"] in firsts or field["name"] in lasts
        return field["name"] in names, field["type"] in _WHOLE, next(parts) if alone else -1

    for (wanted, whole, _), together in groupby(fields, key=kind):
        run = list(together)
        if run[0]["name"] in firsts:
            yield (), Front.mark
        if wanted and whole:
            yield [field["name"] for field in run], partial(Front.numbers, kinds=[field["type"] for field in run])
        else:
            for field in run:
                read = _reading(field["type"], past=not wanted)
                yield ([field["name"]], partial(_alone, read=read)) if wanted else ((), read)
        if run[-1]["name"] in lasts:
            yield (), Front.mark
    if ending:
        last = [field["name"] for field in ending]
        yield last, partial(_ending, pick=_picker({**schema.parsed, "fields": ending}, last))


def _picker(schema: Mapping[str, Any], names: Sequence[str]) -> Pick:
    pick = picker(schema, names)
    if pick is None:
        raise Foreign
    return pick


def _alone(front: Front, read: Read) -> tuple[Column]:
    return (read(front),)


def _ending(front: Front, pick: Pick) -> list[Coded]:
    front.check()
    rests = [front.whole[at:end] for at, end in zip(front.at.tolist(), front.ends.tolist(), strict=True)]
    places = {rest: place for place, rest in enumerate(set(rests))}
    codes = np.array([places[rest] for rest in rests], np.int64)
    return [Coded(codes, maps) for maps in zip(*[pick(rest, 0) for rest in places], strict=True)]


def _reading(schema: Any, *, past: bool) -> Read:  # noqa: PLR0911 - one for each kind of type
    """Return what reads a column of values of this type, or goes past them."""
    if isinstance(schema, list):
        if len(schema) > _BYTE >> 1:
            raise Foreign
        return partial(_union, kinds=[_reading(each, past=past) for each in schema], past=past)
    if isinstance(schema, dict) and "logicalType" in schema:
        raise Foreign
    kind = schema["type"] if isinstance(schema, dict) else schema
    match kind:
        case dict():
            return _reading(kind, past=past)
        case "null":
            return _nothing
        case "boolean":
            return _boolean
        case "int" | "long":
            return _NUMBER[kind]
        case "float":
            return _float
        case "double":
            return partial(Front.fixed, dtype="<f8", width=8)
        case "bytes" | "string":
            return Front.skip if past else partial(_slices, decoded=kind == "string")
        case "enum":
            return partial(_enum, symbols=schema["symbols"])
    raise Foreign


def _nothing(front: Front) -> list[None]:
    return [None] * len(front.at)


def _boolean(front: Front) -> NDArray[np.bool_]:
    found = front.byte()
    if found.max() > 1:
        raise Odd
    return found.astype(np.bool_)


def _float(front: Front) -> NDArray[np.float64]:
    # Some NaNs are told of where they are made wider.
    with np.errstate(invalid="ignore"):
        return front.fixed("<f4", 4).astype(np.float64)


def _slices(front: Front, *, decoded: bool) -> list[Any]:
    begin, end = front.skip()
    found = [front.whole[start:stop] for start, stop in zip(begin.tolist(), end.tolist(), strict=True)]
    return [each.decode() for each in found] if decoded else found


def _enum(front: Front, symbols: Sequence[str]) -> Coded:
    places = front.number()
    if places.min() < 0 or places.max() >= len(symbols):
        raise Odd
    return Coded(places, symbols)


def _union(front: Front, kinds: Sequence[Read], *, past: bool) -> Any:
    branch = front.byte()
    if branch.max() >= 2 * len(kinds) or (branch & 1).any():
        raise Odd
    first = branch[0]
    if (branch == first).all():
        return kinds[first >> 1](front)
    found = np.empty(len(branch), np.object_)
    for place, read in enumerate(kinds):
        which = np.flatnonzero(branch == 2 * place)
        if len(which):
            some = front.rows(which)
            column = read(some)
            front.at[which] = some.at
            if not past:
                found[which] = column if isinstance(column, list) else column.tolist()
    return found.tolist()
