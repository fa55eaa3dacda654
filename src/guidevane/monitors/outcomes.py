"""The label join: what was decided about an event, and what turned out to be true of it."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from guidevane.events import Outcome
from guidevane.monitors.remembered import UNWRITTEN, Held, Remembered

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Sequence

    from guidevane.events import Decision, Label
    from guidevane.monitors.monitor import Batch, State
    from guidevane.monitors.remembered import Entry

KEPT: Final = (
    "decision_id", "event_time_us", "score", "probability", "positive", "outcome", "models", "protected"
)  # fmt: skip
"""What is kept of a decision, in this order: what its outcome repeats."""
_SHARED_MOST = 4096
_UNKNOWN: Final = -(1 << 63)


class JoinCounts(NamedTuple):
    """What became of decisions and labels so far; ``pending`` is what is remembered now."""

    pending: int
    outcomes: int
    duplicates: int
    stale: int
    unlabelled: int
    orphans: int
    evicted: int


class OutcomeJoin:
    """Joins decisions and labels by event id, in whatever order, late, missing, repeated or corrected.

    The first decision of an event counts, as for every reader. Its last label wins: the one that became known
    last (``observed_at_us``), or that arrived last where that is not known. The same label again is
    nothing; another one is an outcome with the next revision. So the last outcome of an event
    is what joining all of it offline would give, while the event is remembered: ``ttl_s`` of event time, and at most
    ``max_pending`` events, of which the oldest go first.

    >>> join = OutcomeJoin(ttl_s=60.0, max_pending=10)
    >>> join.label({"event_id": "e1", "label": 1.0, "observed_at_us": None}, written_at_us=5)
    >>> decision = {"decision_id": "d1", "event_id": "e1", "event_time_us": 4, "pipeline": "p", "score": 0.2,
    ...     "probability": 0.2, "threshold": 0.5, "decision": "no", "positive": False, "outcome": "full",
    ...     "models": {}, "protected": {}}
    >>> join.decide(decision, written_at_us=6)["revision"]
    0
    >>> join.label({"event_id": "e1", "label": 0.0, "observed_at_us": None}, written_at_us=7)["revision"]
    1
    """

    def __init__(self, *, ttl_s: float = 86_400.0, max_pending: int = 100_000) -> None:
        self._ttl_us = int(ttl_s * 1e6)
        self._max_pending = max_pending
        self.remembered = Remembered()
        self._decided, self._waiting = self.remembered.decided, self.remembered.waiting
        self._watermark_us = 0
        # As long as the watermark is not above it, nobody's time is over.
        self._calm_until_us = _UNKNOWN
        self._tally = dict.fromkeys(JoinCounts._fields[1:], 0)
        self._shared: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    @property
    def counts(self) -> JoinCounts:
        """Return what became of decisions and labels so far."""
        return JoinCounts(len(self.remembered), **self._tally)

    def decide(self, decision: Decision, *, written_at_us: int) -> Outcome | None:
        """Take a decision; return its outcome where the label was there first.

        ``written_at_us`` is the record's time on the topic: one event from the future must not expire all others.
        """
        if self._repeats(decision["event_id"]):
            return None
        return self._take(decision["event_id"], self._compact(decision), written_at_us)

    def decide_all(
        self, event_ids: Sequence[str], kept: Sequence[tuple[Any, ...]], *, written_at_us: Sequence[int]
    ) -> tuple[Sequence[int], list[tuple[int, Outcome]]]:
        """Take many decisions, as :meth:`decide` would one after the other.

        Each is given as its values in the order of ``KEPT``; no NaN, maps shared and constant. Returned are the places
        of those that repeat none, and the outcomes, each with its decision's place among those.
        """
        if self._take_new(event_ids, kept, written_at_us):
            return range(len(event_ids)), []
        first: list[int] = []
        outcomes: list[tuple[int, Outcome]] = []
        for place, (event_id, each, written_us) in enumerate(zip(event_ids, kept, written_at_us, strict=True)):
            if self._repeats(event_id):
                continue
            if outcome := self._take(event_id, each, written_us):
                outcomes.append((len(first), outcome))
            first.append(place)
        return first, outcomes

    def _take_new(
        self, event_ids: Sequence[str], kept: Sequence[tuple[Any, ...]], written_at_us: Sequence[int]
    ) -> bool:
        """Take decisions of events that nothing is known of, all at once; tell whether that was the same."""
        ids = set(event_ids)
        known = not (self._decided.keys().isdisjoint(ids) and self._waiting.keys().isdisjoint(ids))
        if known or not ids or len(ids) < len(event_ids):
            return False
        times_us = zip([each[1] for each in kept], written_at_us, strict=True)
        at_us = [at_us if at_us < written_us else written_us for at_us, written_us in times_us]  # noqa: FURB136 - as below
        watermark_us = max(self._watermark_us, *at_us)
        if not self._in_time(len(self.remembered) + len(ids) - self._max_pending, watermark_us - self._ttl_us):
            return False
        if not self._decided:
            self._calm_until_us = _UNKNOWN
        self._watermark_us = watermark_us
        self.remembered.add_decided(event_ids, at_us, kept)
        self._forget()
        return True

    def _in_time(self, count: int, horizon_us: int) -> bool:
        """Tell whether nobody's time is over by the horizon, of those who may leave for being too many by ``count``.

        Who leaves for the one reason alone leaves at whatever moment it is looked at; of both, their order matters.
        """
        if count <= 0:
            return True
        first = [entry.at_us for kind in (self._decided, self._waiting) for entry in islice(kind.values(), count + 1)]
        return len(self._decided) > count and min(first) >= horizon_us

    def _repeats(self, event_id: str) -> bool:
        """Tell whether the event was decided before, as far as is remembered; count it then."""
        repeated = event_id in self._decided
        self._tally["duplicates"] += repeated
        return repeated

    def _take(self, event_id: str, kept: tuple[Any, ...], written_at_us: int) -> Outcome | None:
        at_us: int = kept[1] if kept[1] < written_at_us else written_at_us  # noqa: FURB136 - each event's
        remembered = self.remembered
        waiting = remembered.take_waiting(event_id) if self._waiting else None
        if waiting is not None or not self._decided:
            # Who stands first may be another one now.
            self._calm_until_us = _UNKNOWN
        entry = remembered.add(self._decided, event_id, at_us, kept, waiting.label if waiting else None)
        self._watermark_us = max(self._watermark_us, at_us)
        self._forget()
        return self._emit(event_id, entry, kept, entry.label) if entry.label else None

    def label(self, label: Label, *, written_at_us: int) -> Outcome | None:
        """Take a label; return the outcome where it is the first or another one, and the decision is there.

        ``written_at_us`` is the record's time on the topic: a label that is ahead of its decision waits ``ttl_s``
        from there.
        """
        event_id, new = label["event_id"], Held(label["label"], label["observed_at_us"])
        entry = self._decided.get(event_id) or self._waiting.get(event_id)
        if entry is None:
            if not self._waiting:
                self._calm_until_us = _UNKNOWN
            self.remembered.add(self._waiting, event_id, max(self._watermark_us, written_at_us), None, new)
            self._forget()
            return None
        held = entry.label
        if held is not None:
            if new.at_us is not None and held.at_us is not None and new.at_us < held.at_us:
                self._tally["stale"] += 1
                return None
            if new.value == held.value:
                self._tally["duplicates"] += 1
                if new.at_us is not None and new.at_us != held.at_us:
                    self.remembered.relabel(entry, new)
                return None
        self.remembered.relabel(entry, new)
        return self._emit(event_id, entry, entry.decision, new) if entry.decision else None

    def _emit(self, event_id: str, entry: Entry, decision: tuple[Any, ...], label: Held) -> Outcome:
        entry.revision += 1
        self._tally["outcomes"] += 1
        decision_id, event_time_us, score, probability, positive, outcome, models, protected = decision
        return Outcome(
            event_id=event_id,
            decision_id=decision_id,
            event_time_us=event_time_us,
            label=label.value,
            label_at_us=label.at_us,
            score=score,
            probability=probability,
            positive=positive,
            outcome=outcome,
            revision=entry.revision,
            models=models,
            protected=protected,
        )

    def _forget(self) -> None:
        pending = len(self._decided) + len(self._waiting)
        if self._watermark_us <= self._calm_until_us and pending <= self._max_pending:
            return
        horizon_us = self._watermark_us - self._ttl_us
        for entries in (self._decided, self._waiting):
            while entries and next(iter(entries.values())).at_us < horizon_us:
                self._drop(entries)
        while len(self._decided) + len(self._waiting) > self._max_pending:
            self._drop(max((self._waiting, self._decided), key=len))
            self._tally["evicted"] += 1
        first = [next(iter(each.values())).at_us for each in (self._decided, self._waiting) if each]
        self._calm_until_us = min(first, default=0) + self._ttl_us

    def _drop(self, entries: OrderedDict[str, Entry]) -> None:
        entry = self.remembered.drop_first(entries)
        if entry.decision is None:
            self._tally["orphans"] += 1
        elif entry.label is None:
            self._tally["unlabelled"] += 1

    def _compact(self, decision: Decision) -> tuple[Any, ...]:
        """Keep what an outcome repeats; equal maps of versions and attributes are kept once."""
        return (
            decision["decision_id"],
            decision["event_time_us"],
            _finite(decision["score"]),
            _finite(decision["probability"]),
            decision["positive"],
            decision["outcome"],
            self._share(decision["models"]),
            self._share(decision["protected"]),
        )

    def _share(self, value: dict[str, str]) -> dict[str, str]:
        if len(self._shared) >= _SHARED_MOST:
            self._shared.clear()
        return self._shared.setdefault(tuple(value.items()), value)

    def head(self) -> State:
        """Return all that is remembered beside the rows of events: it is small, however many wait."""
        return {"watermark_us": self._watermark_us, "tally": dict(self._tally), **self.remembered.head()}

    def state(self) -> State:
        """Return all that is remembered, every event's row in it, on no page."""
        return {**self.head(), "pages": [(UNWRITTEN, self.remembered.whole())]}

    def restore(self, state: State) -> None:
        """Go on from ``state``: a head, and its ``pages`` in the order in which they were written."""
        self._watermark_us, self._calm_until_us = state["watermark_us"], _UNKNOWN
        self._tally = dict(state["tally"])
        self.remembered.restore(state, state["pages"])


def constants(batch: Batch) -> list[tuple[Any, ...]]:
    """Return the values of ``KEPT`` of every decision, as a state can hold them.

    JSON has no NaN, and a state must come back as it was.
    """
    kept = list(zip(*map(batch.column, KEPT), strict=True))
    numbers = map(batch.numbers, ("score", "probability"))
    if all(column is not None and np.isfinite(column).all() for column in numbers):
        return kept
    return list(map(_constant, kept))


def _constant(kept: tuple[Any, ...]) -> tuple[Any, ...]:
    _, _, score, probability, *_ = kept
    if (score is None or math.isfinite(score)) and (probability is None or math.isfinite(probability)):
        return kept
    return (*kept[:2], _finite(score), _finite(probability), *kept[4:])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
