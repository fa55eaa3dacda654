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


def columns_by(fields: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, NDArray[Any]]:
    """Return what :func:`columns_of` does, of rows that hold these fields' values in their order, and nothing else.

    >>> columns_by(("age", "sort"), [(3, "a"), (None, None)])
    {'age': array([ 3., nan]), 'sort': array(['a', None], dtype=object)}
    """
    columns = zip(*rows, strict=True) if rows else ((),) * len(fields)
    return {name: _column(list(values)) for name, values in zip(fields, columns, strict=True)}


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
