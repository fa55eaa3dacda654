"""Features whose result goes into the vector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from guidevane.features.asking import AsksNumbers
from guidevane.features.columns import Columns, numbers
from guidevane.word import Mistake, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from guidevane.event import Event


class _Encodes:
    field: str
    name: str
    _suffix = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{self.field}{self._suffix}")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.name,)


class _Single(_Encodes):
    @property
    def width(self) -> int:
        return 1


@word
class Numeric(AsksNumbers, _Single):
    """The number as it is.

    >>> Numeric("amount")({"amount": np.array([3.0])})["amount.number"].tolist()
    [3.0]
    """

    field: Annotated[str, Field(min_length=1)]
    name: str = ""
    _suffix = ".number"

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``name``, float64[n]."""
        return {**columns, self.name: numbers(columns[self.field])}


@word
class Standardise(AsksNumbers, _Single):
    """The number, less ``mean``, in units of ``std``: literals of the training data, never of the stream.

    >>> Standardise("age", mean=40.0, std=20.0)({"age": np.array([60.0])})["age.standardised"].tolist()
    [1.0]
    """

    field: Annotated[str, Field(min_length=1)]
    mean: Annotated[float, Field(allow_inf_nan=False)]
    std: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    name: str = ""
    _suffix = ".standardised"

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``name``, float64[n]."""
        return {**columns, self.name: (numbers(columns[self.field]) - self.mean) / self.std}


class _Categorical:
    field: str
    categories: Annotated[Sequence[int | str], AfterValidator(tuple)]

    @cached_property
    def _place(self) -> dict[object, int]:
        return {category: index for index, category in enumerate(self.categories, start=1)}

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        pairs = sorted((float(c), i) for c, i in self._place.items() if isinstance(c, (int, float)))
        # Infinity and NaN, which numpy sorts behind it, give every search a place to end, and are no categories.
        values = [value for value, _ in pairs] + [np.inf, np.nan]
        return np.array(values), np.array([index for _, index in pairs] + [0, 0], dtype=np.intp)

    def places(self, column: NDArray[Any]) -> NDArray[np.intp]:
        """Return each value's place among the categories, counted from 1; 0 where it is unknown or missing."""
        if column.dtype.kind == "O":
            known = self._place
            found = [known.get(value, 0) if isinstance(value, (str, int, float)) else 0 for value in column.tolist()]
            return np.array(found, dtype=np.intp)
        values, index = self._sorted
        wanted = numbers(column)
        at = values.searchsorted(wanted)
        places: NDArray[np.intp] = index[at] * (values[at] == wanted)
        return places

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of no categories, and of one named twice."""
        if not self.categories:
            yield Mistake("categories", "is empty", "name at least one value")
        seen: set[object] = set()
        for index, category in enumerate(self.categories):
            if category in seen:
                yield Mistake(f"categories[{index}]", f"{category!r} is there twice", "remove one")
            seen.add(category)

    def mistakes_against(self, event: Event) -> Iterator[Mistake]:
        """Tell of categories that the field never is: their place would be empty, and nobody would notice."""
        yield from (wrong.under("categories") for wrong in event.strangers(self.field, self.categories))


@word
class OneHot(_Categorical, _Encodes):
    """One number a category, 1 for the one it is; all 0 where the value is unknown or missing.

    >>> OneHot("marital", ("single", "married"))({"marital": np.array(["married", None], dtype=object)})[
    ...     "marital.onehot"
    ... ].tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    field: Annotated[str, Field(min_length=1)]
    categories: Annotated[Sequence[int | str], AfterValidator(tuple)]
    name: str = ""
    _suffix = ".onehot"

    @property
    def width(self) -> int:
        """How many categories there are."""
        return len(self.categories)

    @cached_property
    def _rows(self) -> NDArray[np.float32]:
        return np.eye(self.width + 1, self.width, k=-1, dtype=np.float32)

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``name``, float32[n, width]."""
        return {**columns, self.name: self._rows[self.places(columns[self.field])]}


@word
class Embed(_Categorical, _Single):
    """The place of the category, counted from 1, for a member to look up; 0 where it is unknown or missing.

    >>> schooling = Embed("schooling", (16, 21, 22))
    >>> schooling({"schooling": np.array([21.0, 99.0])})["schooling.index"].tolist(), schooling.cardinality
    ([2.0, 0.0], 4)
    """

    field: Annotated[str, Field(min_length=1)]
    categories: Annotated[Sequence[int | str], AfterValidator(tuple)]
    name: str = ""
    _suffix = ".index"

    @property
    def cardinality(self) -> int:
        """How many places there are, the unknown one included."""
        return len(self.categories) + 1

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``name``, float32[n]; exact up to 16.7 million categories."""
        return {**columns, self.name: self.places(columns[self.field]).astype(np.float32)}
