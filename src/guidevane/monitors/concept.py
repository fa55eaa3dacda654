"""Concept drift: decisions turn out wrong more often than they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field as Bound

from guidevane.monitors.monitor import Voice
from guidevane.word import word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.events import Alert
    from guidevane.monitors.adwin import Adwin, Change
    from guidevane.monitors.monitor import Batch, Seen, Source, State, Watched
    from guidevane.word import Mistake

TRUE_FROM: Final = 0.5
"""A label from here up says that the positive decision would have been right."""


@word
class ConceptDrift:
    """Watch the share of wrong decisions, as labels arrive, with River's ADWIN; only a rise is told.

    Wrong is a positive decision with a label below 0.5, or the reverse. The first label of an event counts, a
    correction does not: an observation cannot be taken back from a window. Decisions that no model made (shed,
    fallback) do not count.

    >>> ConceptDrift(delta=0.002).name
    'concept_drift'
    """

    delta: Annotated[float, Bound(gt=0, lt=1)] = 0.002
    name: str = "concept_drift"

    def mistakes_against(self, pipeline: Watched) -> Iterator[Mistake]:
        """Fit every pipeline."""
        del pipeline
        yield from ()

    def watch(self, pipeline: Watched) -> list[ErrorDrift]:
        """Build the monitor."""
        from guidevane.monitors.adwin import Adwin  # noqa: PLC0415 - seconds, and only here is it needed

        return [ErrorDrift(Voice(pipeline.name, self.name, "concept_drift", "error"), Adwin(self.delta))]


class ErrorDrift:
    """The drift of the error stream."""

    reads: Source = "outcomes"
    fields = ("revision", "outcome", "label", "positive")

    def __init__(self, voice: Voice, adwin: Adwin) -> None:
        self.name = voice.monitor
        self._voice = voice
        self._adwin = adwin

    def observe(self, seen: Seen) -> Alert | None:
        """Take one outcome."""
        outcome = seen.value
        change = self._take(outcome["revision"], outcome["outcome"], outcome["label"], outcome["positive"])
        return None if change is None else self._tell(seen, change)

    def observe_all(self, batch: Batch) -> list[tuple[int, Alert]]:
        """Take many outcomes."""
        columns = zip(*map(batch.column, self.fields), strict=True)
        changes = [(at, change) for at, each in enumerate(columns) if (change := self._take(*each))]
        return [(at, self._tell(batch.seen(at), change)) for at, change in changes]

    def _take(self, revision: int, outcome: str, label: float, positive: bool) -> Change | None:  # noqa: FBT001
        if revision != 0 or outcome not in ("full", "degraded"):
            return None
        change = self._adwin.update(float((label >= TRUE_FROM) != positive))
        return change if change is not None and change.after > change.before else None

    def _tell(self, seen: Seen, change: Change) -> Alert:
        message = f"the share of wrong decisions went from {change.before:.1%} to {change.after:.1%}"
        evidence = {
            "before": change.before,
            "after": change.after,
            "before_n": float(change.before_n),
            "after_n": float(change.after_n),
        }
        return self._voice.alert(seen, message, evidence)

    def state(self) -> State:
        """Return ADWIN's window."""
        return self._adwin.state()

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        self._adwin.restore(state)
