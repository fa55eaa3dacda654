"""What a feature asks of the field that it reads: told before an event comes that cannot have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.word import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.event import Event

NUMBERS = frozenset({"int", "long", "float", "double", "boolean"})


class AsksNumbers:
    """A feature of a field that is a number, in some events at least."""

    field: str

    def mistakes_against(self, event: Event) -> Iterator[Mistake]:
        """Tell of a field that never is one: each of its events would be a dead letter."""
        kinds = event.kinds(self.field)
        if kinds and not kinds & NUMBERS:
            says = f"'{self.field}' is {' or '.join(sorted(kinds))}, never a number"
            yield Mistake("field", says, "use OneHot or Embed, or a feature of your own")
