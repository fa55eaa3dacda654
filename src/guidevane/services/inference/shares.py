"""Whose events go without: shares by protected group, and the bound that no group's may exceed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REMEMBERS = 10_000
_GROUPS = 512


class Shares:
    """How often events went without something, overall and in each group, over some ten thousand events.

    A group is one value of one protected attribute. :meth:`may` says whether one more event may go without: not where
    that would take the share of one of its groups more than ``bound`` above the overall one. A group that is seen for
    the first time has had its share of nothing, so its first events are served.

    >>> shares = Shares(bound=0.1)
    >>> for sex in "ffmm" * 10:
    ...     shares.note([{"sex": sex}], without=sex == "f" and shares.may({"sex": "f"}))
    >>> shares.of("sex", "f") <= shares.overall + 0.1
    True
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._all = [0, 0]
        self._groups: dict[tuple[str, str], list[int]] = {}

    def may(self, protected: Mapping[str, str]) -> bool:
        """Tell whether the next event, of these groups, may go without."""
        seen, without = self._all
        limit = (without + 1) / (seen + 1) + self.bound
        for each in protected.items():
            of, had = self._groups.get(each, (0, 0))
            if had + 1 > limit * (of + 1):
                return False
        return True

    def note(self, events: Sequence[Mapping[str, str]], *, without: bool) -> None:
        """Count events, by their protected attributes, once it is decided whether they go without."""
        self._all[0] += len(events)
        self._all[1] += len(events) * without
        # Groups share their fields (ingest): there are few to go through, however many events.
        shared = {id(protected): protected for protected in events}
        for key, n in Counter(map(id, events)).items():
            for each in shared[key].items():
                counts = self._groups.get(each)
                if counts is None:
                    if len(self._groups) >= _GROUPS:
                        # Values may be anybody's invention: beyond some, they are no groups that anyone can compare.
                        continue
                    counts = self._groups[each] = [0, 0]
                counts[0] += n
                counts[1] += n * without
        if self._all[0] > 2 * _REMEMBERS:
            for counts in (self._all, *self._groups.values()):
                counts[:] = counts[0] // 2, counts[1] // 2

    @property
    def overall(self) -> float:
        """The share of all events, 0 to 1."""
        return self._all[1] / self._all[0] if self._all[0] else 0.0

    def of(self, attribute: str, value: str) -> float:
        """Return the share of one group, 0 to 1."""
        seen, without = self._groups.get((attribute, value), (0, 0))
        return without / seen if seen else 0.0
