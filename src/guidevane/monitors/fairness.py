"""Fairness: who gets the favourable decision, by protected attribute."""

from __future__ import annotations

from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field as Bound

from guidevane.monitors.monitor import Crossing, Voice, unknown
from guidevane.word import word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from guidevane.events import Alert
    from guidevane.monitors.monitor import Batch, Seen, Source, State, Watched
    from guidevane.word import Mistake

_Told = tuple[str, dict[str, float]]
_MANY: Final = 24
"""Decisions from which on arrays cost less than a loop; and groups (below) up to which they do."""
_GROUPS: Final = 32


@word
class DemographicParity:
    """Watch the gap in the share of positive decisions between the groups of each protected attribute in ``by``.

    The share is of the last ``window`` decisions that carry the attribute and were not shed; a group counts from
    ``min_group`` of them on. The gap is the greatest share less the least (Fairlearn's
    ``demographic_parity_difference``). It is told once when it goes above ``max_gap``, and again after it was back
    below 80 % of it. This compares numbers, it is no test: small groups cross by chance.

    >>> DemographicParity(by=("sex", "race")).max_gap
    0.1
    """

    by: Annotated[tuple[str, ...], Bound(min_length=1)]
    window: Annotated[int, Bound(ge=2)] = 2000
    max_gap: Annotated[float, Bound(ge=0, le=1)] = 0.1
    min_group: Annotated[int, Bound(ge=1)] = 50
    name: str = "parity"

    def mistakes_against(self, pipeline: Watched) -> Iterator[Mistake]:
        """Tell of attributes that the event does not declare as protected."""
        yield from unknown("protected attribute", self.by, pipeline.event.protected, "by")

    def watch(self, pipeline: Watched) -> list[Parity]:
        """Build one monitor per attribute, ``<name>.<attribute>``."""
        return [
            Parity(Voice(pipeline.name, f"{self.name}.{attribute}", "fairness", attribute), self)
            for attribute in self.by
        ]


class Parity:
    """The gap over one attribute: the last decisions, and how many of each group were positive."""

    reads: Source = "decisions"
    fields = ("protected", "positive", "outcome")

    def __init__(self, voice: Voice, declared: DemographicParity) -> None:
        self.name = voice.monitor
        self._voice = voice
        self._attribute = voice.signal
        self._window = declared.window
        self._min_group = declared.min_group
        self._crossing = Crossing(declared.max_gap)
        self._last: deque[tuple[str, bool]] = deque()
        # Per group: decisions, and positive ones among them.
        self._groups: dict[str, list[int]] = {}

    def observe(self, seen: Seen) -> Alert | None:
        """Take one decision."""
        decision = seen.value
        group = decision["protected"].get(self._attribute)
        if group is None or decision["outcome"] == "shed":
            return None
        told = self._take(group, decision["positive"])
        return None if told is None else self._voice.alert(seen, *told)

    def observe_all(self, batch: Batch) -> list[tuple[int, Alert]]:
        """Take many decisions."""
        attribute, columns = self._attribute, zip(*map(batch.column, self.fields), strict=True)
        taken = [
            (at, group, positive)
            for at, (protected, positive, outcome) in enumerate(columns)
            if outcome != "shed" and (group := protected.get(attribute)) is not None
        ]
        pairs = [(group, positive) for _, group, positive in taken]
        said = self._take_all(pairs) if len(pairs) >= _MANY else None
        if said is None:
            said = [(number, told) for number, pair in enumerate(pairs) if (told := self._take(*pair))]
        found = [(taken[number][0], told) for number, told in said]
        return [(at, self._voice.alert(batch.seen(at), *told)) for at, told in found]

    def _take_all(self, came: list[tuple[str, bool]]) -> list[tuple[int, _Told]] | None:
        """Take many decisions at once; return what there is to say, or None where there are too many groups for that.

        What there are of each group is a sum that does not depend on what was said; so is the gap.
        """
        names = list(dict.fromkeys(chain(self._groups, (group for group, _ in came))))
        if len(names) > _GROUPS:
            return None
        places = {name: place for place, name in enumerate(names)}
        before = len(self._last)
        gone = list(islice(chain(self._last, came), max(len(came) - self._window + before, 0)))
        # By event, group, and (decisions, positive ones): what each adds, what it puts out, and so what there are.
        tallies = np.zeros((len(came), len(names), 2), np.int64)
        for pairs, sign, start in ((came, 1, 0), (gone, -1, len(came) - len(gone))):
            if pairs:
                groups = [places[group] for group, _ in pairs]
                tallies[np.arange(start, len(came)), groups] += [(sign, sign * positive) for _, positive in pairs]
        tallies[0] += [self._groups.get(name, (0, 0)) for name in names]
        tallies = np.cumsum(tallies, axis=0)
        n, positive = tallies[:, :, 0], tallies[:, :, 1]
        counts, shares = n >= self._min_group, positive / np.maximum(n, 1)
        high, low = np.where(counts, shares, 0.0).max(axis=1), np.where(counts, shares, 1.0).min(axis=1)
        gaps = np.maximum(high - low, 0.0)
        self._last.extend(came)
        for _ in gone:
            self._last.popleft()
        self._groups = _held(names, tallies[-1])
        return [
            (at, self._told(_held(names, tallies[at]), float(gaps[at]), min(before + at + 1, self._window)))
            for at in self._crossing.crossed(gaps)
        ]

    def _take(self, group: str, positive: bool) -> _Told | None:  # noqa: FBT001 - as below
        self._enter(group, positive)
        if len(self._last) > self._window:
            self._leave()
        gap = self._gap()
        return self._told(self._groups, gap, len(self._last)) if self._crossing.above(gap) else None

    def _told(self, groups: dict[str, list[int]], gap: float, decisions: int) -> _Told:
        # Groups of one share are told apart by name, so that the order in which they appeared does not matter.
        ranked = sorted((positive / n, name, n) for name, (n, positive) in groups.items() if n >= self._min_group)
        least, most = ranked[0], ranked[-1]
        shares = f"{most[1]} {most[0]:.1%}, {least[1]} {least[0]:.1%}"
        message = f"positive decisions by {self._voice.signal}: {shares}"
        evidence = {"gap": gap, "max_gap": self._crossing.limit, "decisions": float(decisions)}
        for share, name, n in (most, least):
            evidence |= {f"share.{name}": share, f"n.{name}": float(n)}
        return message, evidence

    def _enter(self, group: str, positive: bool) -> None:  # noqa: FBT001 - a decision is a pair of these
        self._last.append((group, positive))
        counts = self._groups.setdefault(group, [0, 0])
        counts[0] += 1
        counts[1] += positive

    def _leave(self) -> None:
        group, positive = self._last.popleft()
        counts = self._groups[group]
        counts[0] -= 1
        counts[1] -= positive
        if not counts[0]:
            del self._groups[group]

    def _gap(self) -> float:
        high, low = 0.0, 1.0
        for n, positive in self._groups.values():
            if n >= self._min_group:
                share = positive / n
                if share > high:  # noqa: PLR1730 - twice as fast as max() here, at every decision
                    high = share
                if share < low:  # noqa: PLR1730 - likewise
                    low = share
        return max(high - low, 0.0)

    def state(self) -> State:
        """Return the window: its groups, and one number per decision (twice the group, plus one where positive)."""
        names = sorted(self._groups)
        place = {name: 2 * number for number, name in enumerate(names)}
        return {
            "groups": names,
            "last": [place[group] + positive for group, positive in self._last],
            "raised": self._crossing.raised,
        }

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        names: list[str] = state["groups"]
        self._last.clear()
        self._groups.clear()
        for code in state["last"]:
            self._enter(names[code // 2], bool(code % 2))
        self._crossing.raised = state["raised"]


def _held(names: list[str], tally: NDArray[np.int64]) -> dict[str, list[int]]:
    return {name: each for name, each in zip(names, tally.tolist(), strict=True) if each[0]}
