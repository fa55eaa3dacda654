"""Fairness: who gets the favourable decision, by protected attribute."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field as Bound

from guidevane.monitors.monitor import Crossing, Voice, unknown
from guidevane.word import word

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        # Twice the place of its group, plus one where it was positive.
        self._last: deque[int] = deque()
        # A group's place is another's once none of its decisions are left.
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        # By place: the group, and its decisions with the positive ones among them.
        self._names: list[str] = []
        self._counts: list[list[int]] = []

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
        said = self._take_columns(batch) if len(batch) >= _MANY else None
        if said is None:
            columns = zip(*map(batch.column, self.fields), strict=True)
            said = [
                (at, told)
                for at, (protected, positive, outcome) in enumerate(columns)
                if outcome != "shed" and (group := protected.get(self._attribute)) is not None
                if (told := self._take(group, positive))
            ]
        return [(at, self._voice.alert(batch.seen(at), *told)) for at, told in said]

    def _take_columns(self, batch: Batch) -> list[tuple[int, _Told]] | None:
        """Take many decisions at once; return what there is to say, or None where there are too many groups for that.

        What there are of each group is a sum that does not depend on what was said; so is the gap.
        """
        protected, outcomes = batch.coded("protected"), batch.coded("outcome")
        groups = [each.get(self._attribute) for each in protected.values]
        taken = np.flatnonzero(
            np.array([group is not None for group in groups])[protected.codes]
            & np.array([outcome != "shed" for outcome in outcomes.values])[outcomes.codes]
        )
        count = len(taken)
        if not count:
            return []
        if max(len(self._names), len({*self._places, *groups})) > _GROUPS:
            return None
        positives = batch.numbers("positive")
        if positives is None:
            positives = np.array(batch.column("positive"))
        seats = np.array([0 if group is None else self._seat(group) for group in groups])
        came = (2 * seats[protected.codes] + positives)[taken]
        before = len(self._last)
        self._last.extend(came.tolist())
        gone = np.array([self._last.popleft() for _ in range(len(self._last) - self._window)], np.int64)
        # By place and answer, event after event: what each adds, what it puts out, and so what there are.
        tallies = np.zeros((2 * len(self._names), count), np.int64)
        tallies[came, np.arange(count)] = 1
        tallies[gone, np.arange(count - len(gone), count)] -= 1
        tallies[:, 0] += [each for n, ones in self._counts for each in (n - ones, ones)]
        tallies.cumsum(axis=1, out=tallies)
        positive = tallies[1::2]
        n = tallies[::2] + positive
        counts, shares = n >= self._min_group, positive / np.maximum(n, 1)
        high, low = np.where(counts, shares, 0.0).max(axis=0), np.where(counts, shares, 1.0).min(axis=0)
        gaps = np.maximum(high - low, 0.0)
        found: list[tuple[int, _Told]] = []
        for at in self._crossing.crossed(gaps):
            self._counts = np.column_stack((n[:, at], positive[:, at])).tolist()
            found.append((int(taken[at]), self._told(float(gaps[at]), min(before + at + 1, self._window))))
        self._counts = np.column_stack((n[:, -1], positive[:, -1])).tolist()
        for place in [place for place in self._places.values() if not self._counts[place][0]]:
            self._vacate(place)
        return found

    def _take(self, group: str, positive: bool) -> _Told | None:  # noqa: FBT001 - as below
        self._enter(group, positive)
        if len(self._last) > self._window:
            self._leave()
        gap = self._gap()
        return self._told(gap, len(self._last)) if self._crossing.above(gap) else None

    def _told(self, gap: float, decisions: int) -> _Told:
        # Groups of one share are told apart by name, so that the order in which they appeared does not matter.
        held = ((name, self._counts[place]) for name, place in self._places.items())
        ranked = sorted((positive / n, name, n) for name, (n, positive) in held if n >= self._min_group)
        least, most = ranked[0], ranked[-1]
        shares = f"{most[1]} {most[0]:.1%}, {least[1]} {least[0]:.1%}"
        message = f"positive decisions by {self._voice.signal}: {shares}"
        evidence = {"gap": gap, "max_gap": self._crossing.limit, "decisions": float(decisions)}
        for share, name, n in (most, least):
            evidence |= {f"share.{name}": share, f"n.{name}": float(n)}
        return message, evidence

    def _seat(self, group: str) -> int:
        place = self._places.get(group)
        if place is None:
            if not self._free:
                self._free.append(len(self._names))
                self._names.append("")
                self._counts.append([0, 0])
            place = self._places[group] = self._free.pop()
            self._names[place] = group
        return place

    def _vacate(self, place: int) -> None:
        del self._places[self._names[place]]
        self._free.append(place)

    def _enter(self, group: str, positive: bool) -> None:  # noqa: FBT001 - a decision is a pair of these
        place = self._seat(group)
        self._last.append(2 * place + positive)
        counts = self._counts[place]
        counts[0] += 1
        counts[1] += positive

    def _leave(self) -> None:
        place, positive = divmod(self._last.popleft(), 2)
        counts = self._counts[place]
        counts[0] -= 1
        counts[1] -= positive
        if not counts[0]:
            self._vacate(place)

    def _gap(self) -> float:
        high, low = 0.0, 1.0
        for n, positive in self._counts:
            if n >= self._min_group:
                share = positive / n
                if share > high:  # noqa: PLR1730 - twice as fast as max() here, at every decision
                    high = share
                if share < low:  # noqa: PLR1730 - likewise
                    low = share
        return max(high - low, 0.0)

    def state(self) -> State:
        """Return the window: its groups, and one number per decision (twice the group, plus one where positive)."""
        names = sorted(self._places)
        number = {self._places[name]: 2 * rank for rank, name in enumerate(names)}
        return {
            "groups": names,
            "last": [number[code >> 1] + (code & 1) for code in self._last],
            "raised": self._crossing.raised,
        }

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        names: list[str] = state["groups"]
        for held in (self._last, self._places, self._free, self._names, self._counts):
            held.clear()
        for code in state["last"]:
            self._enter(names[code // 2], bool(code % 2))
        self._crossing.raised = state["raised"]
