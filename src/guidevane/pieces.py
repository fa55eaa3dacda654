"""Avro of a batch, column by column: what an event is on every topic is written once, and joined again and again.

An event becomes four records of our own contracts, and each holds its id, its times and its protected fields. Here a
column is the Avro of one field for a whole batch, and a layout joins columns to values. Whoever makes columns knows the
types of its contract by heart; what does not fit raises one of :data:`guidevane.writer.UNFIT`, and is the codec's.
"""

from __future__ import annotations

from array import array
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from guidevane.writer import EIGHT_BYTES, NINE_BYTES, SIZES, long

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Column: TypeAlias = "bytes | list[bytes]"
"""The Avro of one field, or of a part of it: one an event, or the same for all."""
Parts: TypeAlias = "tuple[Column, ...]"
"""Columns that make a field together, one behind the other."""

NULL, SOME = b"\x00", b"\x02"
"""The branches of ``["null", other]``."""
BOOLEAN = {False: b"\x00", True: b"\x01"}
# From so many on, numpy's calls cost less than so many of ours.
_MANY = 8
_SHIFTS = np.arange(0, 56, 7)
_MORE = np.array([0x80] * 7 + [0])


def longs(values: Sequence[int]) -> list[bytes]:
    r"""Return the Avro of ints or longs. Times of our days in microseconds, eight bytes each, are made all at once.

    >>> longs([0, -1, 64])
    [b'\x00', b'\x01', b'\x80\x01']
    """
    if len(values) >= _MANY:
        # The array module takes whole numbers and nothing else, where numpy would cut.
        given = np.frombuffer(array("q", values), dtype=np.int64)
        left = (given << 1) ^ (given >> 63)
        if left.min() >= EIGHT_BYTES and left.max() < NINE_BYTES:
            return _rows((left[:, None] >> _SHIFTS & 0x7F | _MORE).astype(np.uint8))
    return [long(value) for value in values]


def texts(values: Sequence[str]) -> list[bytes]:
    r"""Return the Avro of strings.

    >>> texts(["a", "é"])
    [b'\x02a', b'\x04\xc3\xa9']
    """
    return [SIZES[len(text)] + text for text in map(str.encode, values)]


def few(values: Sequence[str]) -> list[bytes]:
    """Return the Avro of strings of which only few differ."""
    different = list(set(values))
    written = dict(zip(different, texts(different), strict=True))
    return [written[value] for value in values]


def sizes(values: Sequence[bytes]) -> list[bytes]:
    """Return what stands before bytes in Avro."""
    return [SIZES[size] for size in map(len, values)]


def doubles(values: NDArray[np.float64]) -> list[bytes]:
    """Return the Avro of float64[n]."""
    return _rows(np.ascontiguousarray(values, dtype="<f8").reshape(-1, 1).view(np.uint8))


def optional(said: Sequence[bool], column: list[bytes]) -> Column | Parts:
    """Return the Avro of ``["null", other]``, where ``column`` holds the other's: null where nothing is said."""
    if all(said):
        return SOME, column
    return [SOME + each if there else NULL for there, each in zip(said, column, strict=True)]


def vectors(values: NDArray[np.float32]) -> list[bytes]:
    """Return each row of float32[n, d] as bytes, little-endian."""
    return _rows(np.ascontiguousarray(values, dtype="<f4").view(np.uint8))


def maps(values: Sequence[Mapping[str, str]]) -> list[bytes]:
    """Return the Avro of maps of strings; of those that are equal, however many, one is written."""
    shared = {id(value): value for value in values}
    alike = {key: tuple(value.items()) for key, value in shared.items()}
    written = {pairs: _map(pairs) for pairs in set(alike.values())}
    return [written[alike[id(value)]] for value in values]


def _map(pairs: tuple[tuple[str, str], ...]) -> bytes:
    if not pairs:
        return b"\x00"
    return b"".join([SIZES[len(pairs)], *texts([text for pair in pairs for text in pair]), b"\x00"])


def _rows(matrix: NDArray[np.uint8]) -> list[bytes]:
    """Return the rows of uint8[n, width] as bytes."""
    width = matrix.shape[1]
    if not width:
        return [b""] * len(matrix)
    found: list[bytes] = np.ascontiguousarray(matrix).view(f"V{width}").ravel().tolist()
    return found


class Layout:
    r"""Joins columns to values of one record schema, behind ``prefix``.

    >>> ping = {"type": "record", "name": "ping", "fields": [{"name": "host", "type": "string"}]}
    >>> Layout(ping, b"\x00")(2, {"host": [b"\x02a", b"\x02b"]})
    [b'\x00\x02a', b'\x00\x02b']
    """

    def __init__(self, schema: Mapping[str, Any], prefix: bytes) -> None:
        self.fields: tuple[str, ...] = tuple(field["name"] for field in schema["fields"])
        self._prefix = prefix

    def __call__(self, rows: int, columns: Mapping[str, Column | Parts]) -> list[bytes]:
        """Return ``rows`` values. A field may be several columns, one behind the other.

        Raises ``KeyError`` where a field has none, and ``ValueError`` where two have different lengths.
        """
        parts: list[Column] = []
        same = self._prefix
        for name in self.fields:
            given = columns[name]
            for column in given if isinstance(given, tuple) else (given,):
                if isinstance(column, bytes):
                    same += column
                else:
                    parts += (same, column) if same else (column,)
                    same = b""
        parts.append(same)
        each = [repeat(part, rows) if isinstance(part, bytes) else part for part in parts]
        return list(map(b"".join, zip(*each, strict=True)))
