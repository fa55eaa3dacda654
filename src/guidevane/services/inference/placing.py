"""Which replica has which calls under way, of those that this process makes."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

R = TypeVar("R", bound="Hashable")


class Placing(Generic[R]):
    """Places each call at the replica that has the fewest; of equals, at any.

    >>> placing = Placing()
    >>> sorted(placing.place(call, ["a", "b"]) for call in (1, 2))
    ['a', 'b']
    >>> there = placing.place(3, ["a"])
    >>> placing.place(4, ["a", "b"])
    'b'
    >>> placing.over(3), placing.over(4), placing.over(4)
    (None, None, None)
    """

    def __init__(self) -> None:
        self._at: dict[Hashable, R] = {}
        self._calls: Counter[R] = Counter()

    def place(self, call: Hashable, replicas: Sequence[R]) -> R:
        """Return the replica for a call; one that was placed before is placed anew. Raises ``ValueError`` for none."""
        self.over(call)
        replica = min(random.sample(replicas, len(replicas)), key=self._calls.__getitem__)
        self._at[call] = replica
        self._calls[replica] += 1
        return replica

    def over(self, call: Hashable) -> None:
        """Note that a call is over, whatever came of it; one that was never placed is none."""
        replica = self._at.pop(call, None)
        if replica is not None:
            self._calls[replica] -= 1
            if not self._calls[replica]:
                del self._calls[replica]


PLACING: Final[Placing[Any]] = Placing()
"""Of this process: a router lives where the handle does. Calls are told apart by deployment and matrix."""


def key_of(deployment: str, matrix: object) -> tuple[str, int]:
    """Return the name of a call: the matrix lives as long as somebody asks about it."""
    return deployment, id(matrix)
