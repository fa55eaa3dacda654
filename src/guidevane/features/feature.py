"""What a feature is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from guidevane.features.columns import Columns


@runtime_checkable
class Feature(Protocol):
    """What every feature is: a function of columns that says what it reads and writes.

    Your own must be frozen dataclasses (their fields are what ``FeatureSet.identity`` hashes),
    must return new columns and leave the given ones alone, and must treat each row for itself. One that has a ``field``
    may also have ``mistakes_against(event)``: what ``guidevane check`` tells of the field as the contract has it.
    """

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns it needs."""
        ...

    @property
    def writes(self) -> tuple[str, ...]:
        """The columns it makes or replaces."""
        ...

    def __call__(self, columns: Columns, /) -> Columns:
        """Return the columns with those it writes."""
        ...


class Encoder(Feature, Protocol):
    """A feature whose result, the column ``name`` of shape ``[n]`` or ``[n, width]``, goes into the vector."""

    @property
    def name(self) -> str:
        """What members and monitors call it."""
        ...

    @property
    def width(self) -> int:
        """How many numbers it takes in the vector."""
        ...
