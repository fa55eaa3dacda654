"""The features of a pipeline, and the vector that they make."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from inspect import getattr_static
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from guidevane.errors import Misconfigured
from guidevane.features.feature import Feature
from guidevane.features.windows import Window
from guidevane.word import Mistake, nearest, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guidevane.features.columns import Columns
    from guidevane.features.feature import Encoder

Vectors: TypeAlias = NDArray[np.float32]
# What is held of one key is one record of a changelog, and a broker takes a mebibyte unless told otherwise.
MOST_BYTES = 900_000


@word
class FeatureSet:
    """The features of a pipeline in the order they run, and the vector that they make.

    >>> from guidevane.features import Clip, OneHot, Standardise, columns_of
    >>> features = FeatureSet([Clip("age", 0, 90), Standardise("age", mean=40, std=20), OneHot("sort", ("a", "b"))])
    >>> features.matrix(columns_of([{"age": 95, "sort": "b"}, {"age": None, "sort": "c"}], features.reads)).tolist()
    [[2.5, 0.0, 1.0], [nan, 0.0, 0.0]]
    >>> features.slices["sort.onehot"]
    slice(1, 3, None)
    """

    features: Annotated[Sequence[Feature], AfterValidator(tuple)]

    @cached_property
    def encoders(self) -> tuple[Encoder, ...]:
        """Those whose result goes into the vector, in its order."""
        return tuple(feature for feature in self.features if _encodes(feature))

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Those that look at earlier events of the key."""
        return tuple(feature for feature in self.features if isinstance(feature, Window))

    @cached_property
    def width(self) -> int:
        """How many numbers a vector has."""
        return sum(encoder.width for encoder in self.encoders)

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The fields of the event that are needed, in the order of their first use."""
        made: set[str] = set()
        wanted: dict[str, None] = {}
        for feature in self.features:
            wanted |= dict.fromkeys(name for name in feature.reads if name not in made)
            made |= set(feature.writes)
        return tuple(wanted)

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where in the vector each encoder's numbers are."""
        found, start = {}, 0
        for encoder in self.encoders:
            found[encoder.name] = slice(start, start + encoder.width)
            start += encoder.width
        return found

    @cached_property
    def identity(self) -> str:
        """Return 16 hex characters that change whenever a definition or the order does, and else never.

        Hashed are the names of the classes and the values of the fields, not the code of an author's own feature:
        who changes what such a feature computes, renames it. Raises ``Misconfigured`` where one is no dataclass, or has
        a field that JSON cannot hold.
        """
        text = f"[{', '.join(map(_definition, self.features))}]"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def places(self, encoders: Sequence[str] | None) -> NDArray[np.intp]:
        """Return which columns of the matrix the named encoders fill, in the order named; all where ``None``.

        Raises ``Misconfigured`` where there is no such encoder.
        """
        found: list[int] = []
        for name in self.slices if encoders is None else encoders:
            if name not in self.slices:
                raise Misconfigured(f"there is no encoder '{name}' → {nearest(name, tuple(self.slices))}")
            at = self.slices[name]
            found.extend(range(at.start, at.stop))
        return np.array(found, dtype=np.intp)

    def matrix(self, columns: Columns, *, windowed: Columns | None = None) -> Vectors:
        """Return float32[n, width], C-contiguous; each row depends on its own event alone, to the byte.

        Where there are windows, it depends on the events of its key before it as well. Rows are then events in the
        order in which they came, or ``windowed`` holds what each window saw.

        Raises ``Misconfigured`` where an encoder's result has another shape than it promises.
        """
        rows = len(next(iter(columns.values()), ()))
        made = np.empty((rows, self.width), dtype=np.float32)
        # What overflows float32 becomes infinite, which ``nonfinite`` then reports by row: no warning is needed.
        with np.errstate(over="ignore", invalid="ignore"):
            for feature in self.features:
                if windowed is not None and isinstance(feature, Window):
                    columns = {**columns, feature.name: windowed[feature.name]}
                else:
                    columns = feature(columns)
            for encoder in self.encoders:
                result = columns[encoder.name]
                if result.size != rows * encoder.width or len(result) != rows:
                    raise Misconfigured(
                        f"feature '{encoder.name}' made {result.shape} of {rows} events, not ({rows}, {encoder.width})"
                    )
                made[:, self.slices[encoder.name]] = result.reshape(rows, encoder.width)
        return made

    def nonfinite(self, matrix: Vectors) -> list[tuple[int, str]]:
        """Return (row, encoder) for each result that is not finite, rows ascending: such an event is rejected alone.

        >>> from guidevane.features import Numeric
        >>> FeatureSet([Numeric("a"), Numeric("b")]).nonfinite(np.array([[1, 2], [1, np.nan]], dtype=np.float32))
        [(1, 'b.number')]
        """
        finite = np.isfinite(matrix)
        if finite.all():
            return []
        rows = np.flatnonzero(~finite.all(axis=1)).tolist()
        return [(row, name) for row in rows for name, at in self.slices.items() if not finite[row, at].all()]

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of two encoders with one name, an empty vector, and windows that nobody reads or that come too late."""
        if not self.encoders:
            yield Mistake("features", "none goes into the vector", "add Numeric, Standardise, OneHot or Embed")
        seen: set[str] = set()
        for index, feature in enumerate(self.features):
            if _encodes(feature) and feature.name:
                if feature.name in seen:
                    yield Mistake(f"features[{index}].name", f"'{feature.name}' is there twice", "write name=...")
                seen.add(feature.name)
            try:
                _definition(feature)
            except Misconfigured as wrong:
                yield Mistake(f"features[{index}]", str(wrong))
        yield from self._unread()
        yield from self._windows()

    def _unread(self) -> Iterator[Mistake]:
        """Tell of windows that are kept for nobody: no encoder, and nothing that one reads, is behind them."""
        for index, feature in enumerate(self.features):
            if isinstance(feature, Window) and not any(feature.name in each.reads for each in self.features[index:]):
                instead = f"add Numeric({feature.name!r}) or another encoder behind it, or remove it"
                yield Mistake(f"features[{index}]", f"nothing behind it reads '{feature.name}'", instead)

    def _windows(self) -> Iterator[Mistake]:
        made: set[str] = set()
        for index, feature in enumerate(self.features):
            path = f"features[{index}]"
            if isinstance(feature, Window):
                for name in made & set(feature.reads):
                    yield Mistake(
                        path, f"windows read events as they came, and '{name}' was changed before", "move it up"
                    )
                if feature.name in made:
                    yield Mistake(f"{path}.name", f"'{feature.name}' is there already", "write name=...")
            made |= set(getattr(feature, "writes", ()))
        sound = [each for each in self.windows if not getattr(each, "_mistakes", ()) and not list(each.mistakes())]
        if (size := sum(each.most_bytes for each in sound)) > MOST_BYTES:
            yield Mistake(
                "features", f"the windows of one key may take {size:,} bytes, at most {MOST_BYTES:,}",
                "take longer steps, or lower at_most",
            )  # fmt: skip


def _encodes(feature: Feature) -> TypeGuard[Encoder]:
    # Looked up without being computed: a feature that is built wrongly has no width to tell.
    return getattr_static(feature, "width", None) is not None


def _definition(feature: Feature) -> str:
    kind = type(feature)
    # Ours keep their identity wherever their module moves.
    ours = kind.__module__.startswith("guidevane.features.")
    name = kind.__qualname__ if ours else f"{kind.__module__}.{kind.__qualname__}"
    try:
        fields = dataclasses.fields(feature)  # type: ignore[arg-type]
    except TypeError:
        raise Misconfigured(f"feature {name} is no dataclass: what it is cannot be told") from None
    try:
        return json.dumps([name, {field.name: getattr(feature, field.name) for field in fields}], sort_keys=True)
    except (TypeError, ValueError) as wrong:
        raise Misconfigured(f"feature {name} cannot be written as JSON: {wrong} → use numbers, texts, tuples") from None
