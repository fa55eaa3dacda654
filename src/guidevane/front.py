"""Where the reading of many values side by side has come to: numpy goes from field to field through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from guidevane.reader import Odd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BYTE: Final = 0x80
# The bits that say that more follows, in eight bytes.
_HIGH: Final = np.uint64(0x8080808080808080)
# More than nine groups of seven bits, an int64 need not hold.
_BITS: Final = 63
_INT: Final = np.iinfo(np.int32)
_SHORT: Final = np.array([(n >> 1) ^ -(n & 1) for n in range(_BYTE)], np.int64)
# What stands behind the last value: nobody looks further at once than this, and a zero ends every number.
_SPARE: Final = bytes(8)


class Front:
    """Where the reading of each value has come to (``at``), and where it ends, in the bytes of all, one behind another.

    It only ever moves on: who is not past the end when all is read never was.
    """

    __slots__ = ("at", "data", "ends", "places", "whole")

    def __init__(self, values: Sequence[bytes]) -> None:
        self.whole = b"".join((*values, _SPARE))
        self.data = np.frombuffer(self.whole, np.uint8)
        self.ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
        self.at = np.concatenate(([0], self.ends[:-1]))
        self.places: list[NDArray[np.int64]] = []

    def mark(self) -> None:
        """Note where the reading has come to."""
        self.places.append(self.at)

    def check(self) -> None:
        """Raise ``Odd`` where a value was left behind."""
        if (self.at > self.ends).any():
            raise Odd

    def frame(self, own: int) -> None:
        """Go past frames of five bytes; these, as a number, are right."""
        if ((self._look("<u8", 8) & 0xFFFFFFFFFF) != own).any():
            raise Odd
        self.at = self.at + 5

    def enter(self) -> None:
        """Go into the bytes that stand here: from now on they are the values."""
        begin, end = self.skip()
        self.check()
        self.at, self.ends = begin, end

    def skip(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Go past bytes that stand behind their size; return where they begin, and where they end."""
        size = self.number()
        if size.min() < 0:
            raise Odd
        begin = self.at
        self.at = begin + size
        return begin, self.at

    def byte(self) -> NDArray[np.uint8]:
        """Read a byte."""
        found: NDArray[np.uint8] = self.data[self.at]
        self.at = self.at + 1
        return found

    def fixed(self, dtype: str, width: int) -> NDArray[Any]:
        """Read values of this type, which are so many bytes wide."""
        found = self._look(dtype, width)
        self.at = self.at + width
        return found

    def number(self) -> NDArray[np.int64]:
        """Read a number."""
        first = self.data[self.at]
        if first.max() < _BYTE:
            self.at = self.at + 1
            return _SHORT[first]
        number = self._look("<u8", 8)
        if (number & _HIGH != _HIGH >> 8).any():
            return self._any_number()
        # Eight bytes, as times of our days take: the groups are pushed together, two by two, as in the reader.
        number = number & 0x007F007F007F007F | number >> 1 & 0x3F803F803F803F80
        number = number & 0x00003FFF00003FFF | number >> 2 & 0x0FFFC0000FFFC000
        number = number & 0x0FFFFFFF | number >> 4 & 0xFFFFFFF0000000
        self.at = self.at + 8
        return _signed(number.astype(np.int64))

    def narrow(self) -> NDArray[np.int64]:
        """Read a number of 32 bits."""
        found = self.number()
        if found.max() > _INT.max or found.min() < _INT.min:
            raise Odd
        return found

    def numbers(self, kinds: Sequence[str]) -> list[NDArray[np.int64]]:
        """Read several numbers side by side: those of one byte, as codes and counts are, at once."""
        found: list[NDArray[np.int64]] = []
        while left := len(kinds) - len(found):
            run = self._windows((left,), "u1", left)
            large = run.max(axis=0) >= _BYTE
            small = int(large.argmax()) if large.any() else left
            found.extend(_SHORT[run[:, :small].T])
            self.at = self.at + small
            if small < left:
                found.append(self.narrow() if kinds[len(found)] == "int" else self.number())
        return found

    def rows(self, which: NDArray[np.int64]) -> Front:
        """Return the same of some values."""
        some = Front.__new__(Front)
        some.whole, some.data = self.whole, self.data
        some.at, some.ends = self.at[which], self.ends[which]
        return some

    def _look(self, dtype: str, width: int) -> NDArray[Any]:
        """Return the value of this type, so many bytes wide, that begins at each place."""
        return self._windows((), dtype, width)

    def _windows(self, shape: tuple[int, ...], dtype: str, width: int) -> NDArray[Any]:
        whole = (len(self.whole) - width + 1, *shape)
        found: NDArray[Any] = np.ndarray(whole, dtype, self.whole, strides=(1,) * len(whole))[self.at]
        return found

    def _any_number(self) -> NDArray[np.int64]:
        first = self.byte()
        number, more = (first & (_BYTE - 1)).astype(np.int64), first >= _BYTE
        for shift in range(7, _BITS, 7):
            byte = np.where(more, self.data[self.at], 0).astype(np.int64)
            number |= (byte & (_BYTE - 1)) << shift
            self.at = self.at + more
            more = byte >= _BYTE
            if not more.any():
                return _signed(number)
        raise Odd


def _signed(number: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (number >> 1) ^ -(number & 1)
    return found
