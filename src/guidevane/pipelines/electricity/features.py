"""A feature of this pipeline's own: how far one column lies above another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Above:
    """``field`` less ``other`` in units of ``most``, bounded: -1.0 where it lies that far below, or farther.

    A price means little in a market that drifts; that it is above its day's mean means much.

    >>> columns = {"price": np.array([0.10, 0.06]), "mean": np.array([0.05, 0.05])}
    >>> Above("price", "mean", most=0.04, name="dear")(columns)["dear"].round(6).tolist()
    [1.0, 0.25]
    """

    field: str
    other: str
    most: float
    name: str

    @property
    def reads(self) -> tuple[str, ...]:
        """Both columns."""
        return (self.field, self.other)

    @property
    def writes(self) -> tuple[str, ...]:
        """Its own name."""
        return (self.name,)

    @property
    def width(self) -> int:
        """One number."""
        return 1

    def __call__(self, columns: Mapping[str, NDArray[Any]], /) -> Mapping[str, NDArray[Any]]:
        """Return the columns with ``name``, float64[n], -1 to 1; NaN where either of two numbers is missing."""
        above = (columns[self.field] - columns[self.other]) / self.most
        return {**columns, self.name: np.clip(above, -1.0, 1.0)}
