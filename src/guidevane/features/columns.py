"""Columns: the fields of a micro-batch, one array a field, one row an event."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Columns: TypeAlias = Mapping[str, NDArray[Any]]


def columns_of(rows: Sequence[Mapping[str, object]], fields: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return one column a field: float64[n] where no value is text (null is NaN), else the values as objects.

    A field that an event lacks counts as null. Text is never read as a number: ``"12"`` is text in every batch.

    >>> columns_of([{"age": 3, "sort": "a"}, {"age": None, "sort": None}], ("age", "sort"))
    {'age': array([ 3., nan]), 'sort': array(['a', None], dtype=object)}
    """
    return {name: _column([row.get(name) for row in rows]) for name in fields}


def columns_from(fields: Mapping[str, Sequence[Any] | NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what :func:`columns_of` does, of the fields' values: arrays hold numbers or truth values alone.

    >>> columns_from({"age": [3, None], "sort": ["a", None], "year": np.array([1, 2])})
    {'age': array([ 3., nan]), 'sort': array(['a', None], dtype=object), 'year': array([1., 2.])}
    """
    return {
        name: values.astype(np.float64) if isinstance(values, np.ndarray) else _column(list(values))
        for name, values in fields.items()
    }


def numbers(column: NDArray[Any]) -> NDArray[np.float64]:
    """Return a column as float64[n]; what is no number becomes NaN, so that only its own event is rejected.

    >>> numbers(np.array(["12", 3, None], dtype=object)).tolist()
    [nan, 3.0, nan]
    """
    if column.dtype.kind in "fiub":
        return column.astype(np.float64, copy=False)
    values = (value if isinstance(value, (int, float)) else np.nan for value in column.tolist())
    return np.fromiter(values, dtype=np.float64, count=len(column))


def _column(values: list[Any]) -> NDArray[Any]:
    # The array module takes numbers and nothing else, where numpy would parse text; it is also the faster one.
    try:
        return np.frombuffer(array("d", values))
    except TypeError:
        pass
    try:
        return np.frombuffer(array("d", [np.nan if value is None else value for value in values]))
    except TypeError:
        return np.fromiter(values, dtype=object, count=len(values))
