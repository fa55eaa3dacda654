"""Which replica has which calls under way, of those that this process makes."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

R = TypeVar("R", bound="Hashable")
Key = tuple[str, int]


class Placing(Generic[R]):
    """Places each call at the replica that has the fewest; of equals, at any. A call is a deployment and a number.

    >>> placing = Placing()
    >>> sorted(placing.place(("deep", call), ["a", "b"]) for call in (1, 2))
    ['a', 'b']
    >>> there = placing.place(("deep", 3), ["a"])
    >>> placing.place(("deep", 4), ["a", "b"])
    'b'
    >>> [placing.over(("deep", call)) for call in (3, 4, 4)]
    [None, None, None]
    >>> placing.replicas("deep"), placing.replicas("quick")
    (2, 0)
    """

    def __init__(self) -> None:
        self._at: dict[Key, R] = {}
        self._calls: Counter[R] = Counter()
        self._replicas: dict[str, int] = {}

    def replicas(self, deployment: str) -> int:
        """Return how many replicas a deployment had when it was asked last; 0 where it never was."""
        return self._replicas.get(deployment, 0)

    def place(self, call: Key, replicas: Sequence[R]) -> R:
        """Return the replica for a call; one that was placed before is placed anew. Raises ``ValueError`` for none."""
        self.over(call)
        self._replicas[call[0]] = len(replicas)
        replica = min(random.sample(replicas, len(replicas)), key=self._calls.__getitem__)
        self._at[call] = replica
        self._calls[replica] += 1
        return replica

    def over(self, call: Key) -> None:
        """Note that a call is over, whatever came of it; one that was never placed is none."""
        replica = self._at.pop(call, None)
        if replica is not None:
            self._calls[replica] -= 1
            if not self._calls[replica]:
                del self._calls[replica]


PLACING: Final[Placing[Any]] = Placing()
"""Of this process: a router lives where the handle does. Calls are told apart by deployment and matrix."""


def key_of(deployment: str, matrix: object) -> Key:
    """Return the name of a call: the matrix lives as long as somebody asks about it."""
    return deployment, id(matrix)
