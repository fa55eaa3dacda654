"""Events that wait for their members."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import numpy.typing as npt

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Waiting:
    """One event that waits for its members.

    ``waited`` says that it found none free; ``spared``, that as many of its group go without as may.
    """

    deadline_us: int
    protected: Mapping[str, str]
    waited: bool
    spared: bool


class Queue(Generic[T]):
    """What waits, in the order in which it came, with the columns that all of it is looked through by at each landing.

    Thousands may wait while some hundred leave at a time. ``T`` is whose it is.
    """

    def __init__(self) -> None:
        self._owners, self._items = _objects(()), _objects(())
        self.deadline_us = np.empty(0, np.int64)
        self.waited, self.spared = np.empty(0, np.bool_), np.empty(0, np.bool_)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Waiting:
        return self._items[place]  # type: ignore[no-any-return]

    def owner(self, place: int) -> T:
        """Return whose it is that stands at a place."""
        return self._owners[place]  # type: ignore[no-any-return]

    def add(self, items: Sequence[Waiting], owners: Sequence[T]) -> None:
        """Put more behind what waits."""
        many = len(items)
        self._owners = np.concatenate((self._owners, _objects(owners)))
        self._items = np.concatenate((self._items, _objects(items)))
        due = np.fromiter(map(attrgetter("deadline_us"), items), np.int64, many)
        self.deadline_us = np.concatenate((self.deadline_us, due))
        self.waited = np.concatenate((self.waited, np.fromiter(map(attrgetter("waited"), items), np.bool_, many)))
        self.spared = np.concatenate((self.spared, np.fromiter(map(attrgetter("spared"), items), np.bool_, many)))

    def spare(self, place: int) -> None:
        """Note that as many of its group go without as may."""
        self[place].spared = self.spared[place] = True

    def stand(self) -> None:
        """Note that none of them found a member free."""
        for item in self._items[~self.waited]:
            item.waited = True
        self.waited[:] = True

    def first(self, many: int) -> range:
        """Return the places of those who came first."""
        return range(min(many, len(self)))

    def leave(self, places: Collection[int]) -> list[T]:
        """Let these go; return whose they were, in that order."""
        if not places:
            return []
        gone = [self.owner(place) for place in places]
        stays = np.ones(len(self), np.bool_)
        stays[list(places)] = False
        self._keep(stays)
        return gone

    def leave_where(self, theirs: Callable[[T], bool]) -> None:
        """Let those go who are somebody's."""
        self._keep(np.fromiter((not theirs(owner) for owner in self._owners), np.bool_, len(self)))

    def _keep(self, stays: npt.NDArray[np.bool_]) -> None:
        self._owners, self._items = self._owners[stays], self._items[stays]
        self.deadline_us, self.waited, self.spared = self.deadline_us[stays], self.waited[stays], self.spared[stays]


def _objects(values: Sequence[object]) -> npt.NDArray[np.object_]:
    return np.fromiter(values, np.object_, len(values))
