"""The objective: how late is late, and how often it may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guidevane.word import word


@word
class Latency:
    """At most ``budget`` of the events may take longer than ``within_ms``, end to end.

    ``p`` is the percentile that is shown and compared; ``budget`` defaults to ``1 - p``.
    Late, shed and failed events all count as misses.

    >>> Latency(p=0.99, within_ms=200).within_us
    200000
    """

    p: Annotated[float, Field(gt=0, lt=1)] = 0.99
    within_ms: Annotated[float, Field(gt=0)] = 200.0
    budget: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def within_us(self) -> int:
        """Return the objective in microseconds."""
        return int(self.within_ms * 1000)

    @property
    def allowed(self) -> float:
        """Return the share of events that may miss, 0-1."""
        return self.budget if self.budget is not None else 1 - self.p

    def met(self, missed: int, of: int) -> bool:
        """Tell whether ``missed`` of ``of`` events stay within the budget; nothing happened counts as met.

        >>> Latency(p=0.99).met(1, 100), Latency(p=0.99).met(2, 100)
        (True, False)
        """
        # Compared as counts: 1 - 0.99 is a hair above 0.01 in floats, and 1 of 100 must pass.
        return missed <= self.allowed * of + 1e-9
