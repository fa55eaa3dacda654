"""Who is asked next, about what, and who is not: decided over everything that waits, by the time that each has left.

Batches are formed as Nexus does it (Shen et al., SOSP 2019, section 6.3, early drop): those with the least time left
first, but none that would be late in the batch in question. Who has waited and cannot be in time alone in a batch any
more gives way: to the rule, or shed. Who did not have to wait takes nobody's time, and is served however late it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from guidevane.control.ladder import Choice, Step, reserved, steps
from guidevane.services.inference.behind import Behind
from guidevane.services.inference.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.expecting import Expecting
    from guidevane.services.inference.waiting import Queue

BY_SLACK: Final = 1
"""The level from which events are served by the time that they have left."""
_WITHOUT: Final = frozenset({"rule", "shed"})
_PRESSED_S: Final = 1.0
"""So long after an event went without a member, members have too much to do."""


@dataclass(slots=True)
class Knobs:
    """What the controller may change while the room runs.

    ``calls`` is how many batches may be under way at once; until it was ``told``, more may be where the members seem
    able to take them. ``level`` is how far to degrade (:class:`guidevane.Degrade`),
    ``behind_s`` how long an answer is on its way after its members have answered, beside what the log takes.
    """

    max_batch: int = 256
    calls: int = 4
    told: bool = False
    level: int = 0
    behind_s: float = 0.02


@dataclass(frozen=True, slots=True)
class Picked:
    """Places in what waits: who is asked next and how, and who is answered without being asked."""

    batch: Sequence[int] = ()
    choice: Choice = field(default_factory=lambda: Choice("full"))
    rule: Sequence[int] = ()
    shed: Sequence[int] = ()


class Triage:
    """Decides over what waits, each time that a batch could leave. Time arrives with the question."""

    def __init__(self, pipeline: Pipeline, expecting: Expecting, knobs: Knobs, *, rooms_behind: int = 0) -> None:
        self.behind = Behind(knobs, slo_s=pipeline.slo.within_ms / 1e3, rooms=rooms_behind)
        self.ensemble = pipeline.ensemble
        self.expecting = expecting
        self.knobs = knobs
        self._tiles = {member.name: member.tile for member in pipeline.ensemble.deployed}
        self.without = Shares(pipeline.degrade.group_bound)
        self.degraded = Shares(pipeline.degrade.group_bound)
        # Without a label of its own, "fallback" would be a model's negative answer that no model gave.
        self._rule = pipeline.decision.fallback is not None
        self._without_s = -math.inf

    def free(self, under_way: int) -> bool:
        """Tell whether another batch may leave at level 0, with so many under way.

        Who knows how many replicas there are knows better than what waits seem to say: of many replicas that are not
        busy, one more call waits for none, and it may be the one that keeps events from riding together.
        """
        if under_way < self.knobs.calls:
            return True
        return not self.knobs.told and self.expecting.open(self.ensemble.names, self.knobs.max_batch)

    def next(self, waiting: int, *, under_way: int) -> int:
        """Return how many of those who wait leave as the next batch at level 0, in the order in which they came."""
        return self.size(waiting, under_way=under_way) if self.free(under_way) else 0

    def size(self, waiting: int, *, under_way: int) -> int:
        """Return how many of so many the next batch takes: as many as may be, or where replicas idle, their share.

        In whole tiles of the slowest member: less than one costs as much.
        """
        pieces = self.expecting.shared(self.ensemble.names, waiting, self.knobs.calls - under_way)
        share = waiting
        if pieces > 1:
            tile = self._tile(self.ensemble.names, waiting)
            share = -(-waiting // (pieces * tile)) * tile
        return min(waiting, share, self.knobs.max_batch)

    def pressed(self, now_s: float) -> bool:
        """Tell whether members have too much to do: an event went without one, by its slack, a moment ago."""
        return now_s - self._without_s < _PRESSED_S

    def __call__(self, waiting: Queue[Any], now_us: int, now_s: float, *, under_way: int) -> Picked:
        """Return who is asked next, if anybody, and who need not wait any longer."""
        if self.knobs.level < BY_SLACK:
            return Picked(range(self.next(len(waiting), under_way=under_way)))
        waits_s = self.expecting.waits_s(now_s)
        line = _Line.of(waiting, now_us + round(self.behind.s * 1e6))
        ladder = self.ladder(1, waits_s)
        rule, shed = self._give_way(waiting, line, ladder)
        if rule or shed:
            self._without_s = now_s
            line = line.without([*rule, *shed])
        size = self.size(len(line.places), under_way=under_way)
        if not any(self._open(step.choice.members, size) for step in ladder if step.choice.rung not in _WITHOUT):
            # This happens at each landing, however many wait: nobody whom they might ask has time.
            return Picked(rule=rule, shed=shed)
        batch, choice = self._batch(waiting, line, waits_s, size)
        if choice.rung != "full":
            self._without_s = now_s
        return Picked(batch, choice, rule, shed)

    def ladder(self, rows: int, waits_s: Mapping[str, float]) -> list[Step]:
        """Return what an event of a batch of ``rows`` may get, by the time that it needs."""
        ensemble, level = self.ensemble, self.knobs.level - BY_SLACK
        members = [self.expecting.timed(name, rows) for name in ensemble.names]
        variant = None if ensemble.variant is None else self.expecting.timed(ensemble.variant.name, rows)
        spare = len(members) - ensemble.quorum
        if level <= spare:
            kept = reserved(members, quorum=ensemble.quorum, leave_out=level)
        else:
            kept = ()
            variant = variant if level == spare + 1 else None
        return steps(kept, waits_s, quorum=ensemble.quorum, most=len(members), variant=variant, rule=self._rule)

    def _give_way(self, waiting: Queue[Any], line: _Line, ladder: Sequence[Step]) -> tuple[list[int], list[int]]:
        """Return who gets the rule and who is shed, by the time left; note both."""
        asked = [step for step in ladder if step.choice.rung not in _WITHOUT]
        quickest_s = asked[-1].needs_s if asked else math.inf
        rule: list[int] = []
        shed: list[int] = []
        # Who did not have to wait is served however late, where anybody can be asked.
        hopeless = (line.slack_s < quickest_s) & ~line.spared & (line.waited | (not asked))
        for at in np.flatnonzero(hopeless):
            place = int(line.places[at])
            each = waiting[place]
            if asked and not self.without.may(each.protected):
                waiting.spare(place)
                line.spared[at] = True
                continue
            (rule if self._rule and line.slack_s[at] >= 0 else shed).append(place)
            self.without.note([each.protected], without=True)
            self.degraded.note([each.protected], without=True)
        return rule, shed

    def _batch(
        self, waiting: Queue[Any], line: _Line, waits_s: Mapping[str, float], size: int
    ) -> tuple[list[int], Choice]:
        """Return the next batch, all of one choice, and note it."""
        while len(line.places) and (ladder := self._widest(line, waits_s, size)) is not None:
            rows, steps_ = ladder
            got = line.steps([step.needs_s for step in steps_])
            # The last is theirs who get none.
            open_ = np.array([*(self._open(step.choice.members, rows) for step in steps_), False])
            may = np.flatnonzero(open_[got])
            if not len(may):
                # Whom they would ask has enough to do: they wait here, where they can still be put off.
                break
            # Whoever is spared goes first, and the others by the time that they have left.
            first = next(iter(may[line.spared[may]]), may[0])
            # Who is spared may be late, and must not make others so: they go in batches of their own.
            alike = may[(got[may] == got[first]) & (line.spared[may] == line.spared[first])]
            batch, choice = line.places[alike[:rows]].tolist(), steps_[got[first]].choice
            if batch := self._noted(waiting, self._whole_tiles(batch, choice), choice):
                return batch, choice
            # Their groups have had their share of degraded answers: now they are another choice's.
            line.look_again(waiting)
        return [], Choice("full")

    def _open(self, members: Sequence[str], rows: int) -> bool:
        knobs = self.knobs
        return self.expecting.open(members, rows, knobs.calls) if knobs.told else self.expecting.open(members, rows)

    def _whole_tiles(self, batch: list[int], choice: Choice) -> list[int]:
        """Leave out what would only begin another tile: it costs a whole one, and can be in the next batch.

        The slowest member's tile: what is left over of the others' costs nobody time.
        """
        tile = self._tile(choice.members, len(batch))
        return batch[: len(batch) - len(batch) % tile] if len(batch) > tile else batch

    def _tile(self, names: Sequence[str], rows: int) -> int:
        return self._tiles[max(names, key=lambda name: self.expecting.timed(name, rows).busy_s)]

    def _widest(self, line: _Line, waits_s: Mapping[str, float], rows: int) -> tuple[int, list[Step]] | None:
        """Return the size of batch, ``rows`` at most, in which the most are in time, and its ladder.

        ``None`` where nobody would be.
        """
        hurried_s = line.slack_s[line.waited & ~line.spared]
        heedless = len(line.places) - len(hurried_s)
        best: tuple[int, int, list[Step]] | None = None
        while rows:
            ladder = [step for step in self.ladder(rows, waits_s) if step.choice.rung not in _WITHOUT]
            if not ladder:
                return None
            late = int(np.searchsorted(hurried_s, ladder[-1].needs_s))
            served = min(rows, heedless + len(hurried_s) - late)
            if served and (best is None or served > best[0]):
                best = served, rows, ladder
            if served == rows:
                break
            # The next power of two below.
            rows = 1 << (rows - 1).bit_length() >> 1 if rows > 1 else 0
        return None if best is None else best[1:]

    def _noted(self, waiting: Queue[Any], batch: Sequence[int], choice: Choice) -> list[int]:
        """Count a batch; return who may have this choice. Who may not is spared from now on."""
        if choice.rung == "full":
            self.degraded.note([waiting[place].protected for place in batch], without=False)
            kept = list(batch)
        else:
            kept = []
            for place in batch:
                each = waiting[place]
                if each.spared or self.degraded.may(each.protected):
                    self.degraded.note([each.protected], without=True)
                    kept.append(place)
                else:
                    waiting.spare(place)
        self.without.note([waiting[place].protected for place in kept], without=False)
        return kept


@dataclass(slots=True)
class _Line:
    """Those who wait, in columns, by the time that each has left: ``places`` says where each stands in what waits.

    All of it is looked at each time that a batch lands, however many wait.
    """

    places: npt.NDArray[np.int64]
    slack_s: npt.NDArray[np.float64]
    waited: npt.NDArray[np.bool_]
    spared: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, waiting: Queue[Any], by_us: int) -> _Line:
        """Return the columns of what waits; of equals, who came first stands first."""
        order = np.argsort(waiting.deadline_us, kind="stable")
        slack_s = (waiting.deadline_us[order] - by_us) / 1e6
        return cls(order, slack_s, waiting.waited[order], waiting.spared[order])

    def without(self, gone: Sequence[int]) -> _Line:
        """Return the others."""
        stays = np.ones(self.places.max(initial=-1) + 1, np.bool_)
        stays[gone] = False
        kept = stays[self.places]
        return _Line(self.places[kept], self.slack_s[kept], self.waited[kept], self.spared[kept])

    def steps(self, needs_s: Sequence[float]) -> npt.NDArray[np.int64]:
        """Return which step of a ladder each gets, the first that it has the time for; -1 where it would be late.

        Who is spared gets the first, and so does who has no time for any, but did not have to wait.
        """
        downwards = -np.array(needs_s)
        got = np.searchsorted(downwards, -self.slack_s)
        late = got == len(needs_s)
        got[late] = np.where(self.waited[late], -1, 0)
        got[self.spared] = 0
        return got

    def look_again(self, waiting: Queue[Any]) -> None:
        """Learn who is spared by now."""
        self.spared = waiting.spared[self.places]
