"""Columns of many events: as lists, as arrays of numbers, or coded, where few values differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column of few different values: ``codes`` are their places in ``values``, one for each event.

    >>> Coded(np.array([1, 0, 1]), ["no", "yes"]).tolist()
    ['yes', 'no', 'yes']
    """

    codes: NDArray[np.int64]
    values: Sequence[Any]

    def tolist(self) -> list[Any]:
        """Return the value of every event: the same objects."""
        found: list[Any] = np.fromiter(self.values, np.object_, len(self.values))[self.codes].tolist()
        return found


Column: TypeAlias = Sequence[Any] | NDArray[Any] | Coded
"""One field of many events."""


def values_of(column: Column) -> list[Any]:
    """Return a column's values, as a decoder gives them."""
    return column if isinstance(column, list) else column.tolist()  # type: ignore[union-attr]
