"""Features that change a field in place, for an encoder after them to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from guidevane.features.asking import AsksNumbers
from guidevane.features.columns import Columns, numbers
from guidevane.word import Mistake, word

if TYPE_CHECKING:
    from collections.abc import Iterator


class _InPlace:
    field: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.field,)


@word
class Clip(AsksNumbers, _InPlace):
    """Bound one field, so that one wild sensor cannot own a prediction; what is missing stays missing.

    >>> Clip("amount", low=0.0, high=100.0)({"amount": np.array([250.0, 7.0])})["amount"].tolist()
    [100.0, 7.0]
    """

    field: Annotated[str, Field(min_length=1)]
    low: float
    high: float

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``field`` bounded, as float64."""
        return {**columns, self.field: np.clip(numbers(columns[self.field]), self.low, self.high)}

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of bounds that no value can keep."""
        if not self.low <= self.high:
            yield Mistake("low", f"is above high: {self.low} > {self.high}", "swap them")


@word
class Fill(_InPlace):
    """Put ``value`` where a field is missing: absent, null or NaN.

    >>> Fill("amount", 5.0)({"amount": np.array([np.nan, 7.0])})["amount"].tolist()
    [5.0, 7.0]
    >>> Fill("colour", "none")({"colour": np.array([None, "red"], dtype=object)})["colour"].tolist()
    ['none', 'red']
    """

    field: Annotated[str, Field(min_length=1)]
    value: Annotated[float, Field(allow_inf_nan=False)] | str

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``field`` filled."""
        column = columns[self.field]
        if column.dtype.kind != "O" and isinstance(self.value, float):
            whole = numbers(column)
            return {**columns, self.field: np.where(np.isnan(whole), self.value, whole)}
        # NaN is the one value that is unlike itself.
        filled = (self.value if value is None or value != value else value for value in column.tolist())  # noqa: PLR0124
        return {**columns, self.field: np.fromiter(filled, dtype=object, count=len(column))}


@word
class Log1p(AsksNumbers, _InPlace):
    """Replace a field by ``log(1 + x)``; what lies below -1 becomes NaN, and its event a dead letter.

    >>> Log1p("amount")({"amount": np.array([0.0])})["amount"].tolist()
    [0.0]
    """

    field: Annotated[str, Field(min_length=1)]

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with the logarithm in place of ``field``, as float64."""
        with np.errstate(invalid="ignore", divide="ignore"):
            # Contiguous, because numpy computes strided logarithms by another routine, with other last bits.
            return {**columns, self.field: np.log1p(np.ascontiguousarray(numbers(columns[self.field])))}
