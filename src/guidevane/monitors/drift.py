"""Drift: the score or a field of the event is not distributed as it was."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
from pydantic import Field as Bound

from guidevane.monitors.monitor import Voice, unknown
from guidevane.word import word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from guidevane.event import Event
    from guidevane.events import Alert
    from guidevane.monitors.adwin import Adwin, Change
    from guidevane.monitors.monitor import Batch, Seen, Source, State, Watched
    from guidevane.word import Mistake

SCORE: Final = "score"
ALL: Final = "all"
REFERENCE: Final = 500
"""How many first values settle the scale of a signal without a declared range."""


@word
class Drift:
    """Watch the mean of the score, of one numeric field, or of ``"all"`` of them, with River's ADWIN.

    ADWIN wants values between 0 and 1. The score is there already; a field is scaled by its declared range, one
    without a range by the least and the greatest of its first 500 values (half and one and a half times the value,
    where all are equal); what lies beyond is clipped, also of scores that are no probabilities. So one wild value among
    the 500, or a declared range far wider than what comes, hides changes. A smaller ``delta`` is slower and quieter; it
    is set for independent values: autocorrelated ones alarm more often.

    >>> Drift(signal="score", delta=0.002).name
    'drift'
    """

    signal: str = SCORE
    delta: Annotated[float, Bound(gt=0, lt=1)] = 0.002
    name: str = "drift"

    def mistakes_against(self, pipeline: Watched) -> Iterator[Mistake]:
        """Tell of a signal that the event does not have."""
        yield from unknown("numeric signal", [self.signal], [SCORE, ALL, *_fields(pipeline.event)], "signal")

    def watch(self, pipeline: Watched) -> list[SignalDrift]:
        """Build one monitor per signal, ``<name>.<signal>``."""
        from guidevane.monitors.adwin import Adwin  # noqa: PLC0415 - seconds, and only here is it needed

        event = pipeline.event
        fields = [name for name in _fields(event) if self.signal in (ALL, name)]
        return [
            SignalDrift(
                Voice(pipeline.name, f"{self.name}.{signal}", "drift", signal),
                "decisions" if signal == SCORE else "accepted",
                (0.0, 1.0) if signal == SCORE else event.ranges.get(signal),
                Adwin(self.delta),
            )
            for signal in ([SCORE] if self.signal in (ALL, SCORE) else []) + fields
        ]


def _fields(event: Event) -> list[str]:
    # Times and identities move by their nature; an event's own field called score would be taken for the decision's.
    return [name for name in event.numeric_fields if name not in {SCORE, event.key, event.id, event.time, *event.pii}]


class SignalDrift:
    """The drift of one signal, scaled by its bounds; by its first values where none are declared."""

    def __init__(self, voice: Voice, reads: Source, bounds: tuple[float, float] | None, adwin: Adwin) -> None:
        self.name = voice.monitor
        self.reads: Source = reads
        self._voice = voice
        self._signal = voice.signal
        self.fields = (voice.signal,)
        self._adwin = adwin
        self._reference: list[float] = []
        self._low, self._span = 0.0, 0.0
        if bounds is not None and all(map(math.isfinite, bounds)):
            self._settle(*bounds)

    def _settle(self, low: float, high: float) -> None:
        self._low, self._span = low, min(high - low, sys.float_info.max) or 1.0

    def observe(self, seen: Seen) -> Alert | None:
        """Take the signal of one event; one without it, or not finite, says nothing."""
        change = self._take(seen.value.get(self._signal))
        return None if change is None else self._tell(seen, change)

    def observe_all(self, batch: Batch) -> list[tuple[int, Alert]]:
        """Take the signal of many events."""
        numbers = batch.numbers(self._signal)
        if numbers is not None and self._span and np.isfinite(numbers).all():
            changes = self._feed_all(numbers)
        else:
            values = enumerate(batch.column(self._signal))
            changes = [(at, change) for at, value in values if (change := self._take(value))]
        return [(at, self._tell(batch.seen(at), change)) for at, change in changes]

    def _take(self, value: object) -> Change | None:
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        if self._span:
            return self._feed(value)
        self._reference.append(float(value))
        if len(self._reference) < REFERENCE:
            return None
        low, high = min(self._reference), max(self._reference)
        # A value that never changed lies in the middle of its scale, so that it is seen to rise and to fall.
        margin = 0.0 if low < high else abs(low) / 2 or 0.5
        self._settle(low - margin, high + margin)
        changes = [self._feed(held) for held in self._reference]
        self._reference = []
        return next((change for change in reversed(changes) if change), None)

    def _feed(self, value: float) -> Change | None:
        scaled = (value - self._low) / self._span
        return self._adwin.update(0.0 if scaled < 0.0 else 1.0 if scaled > 1.0 else scaled)  # noqa: FURB136 - hot

    def _feed_all(self, values: NDArray[Any]) -> list[tuple[int, Change]]:
        # As above, to the bit.
        with np.errstate(over="ignore"):
            scaled = (values - self._low) / self._span
        return self._adwin.update_all(np.where(scaled < 0.0, 0.0, np.where(scaled > 1.0, 1.0, scaled)).tolist())

    def _tell(self, seen: Seen, change: Change) -> Alert:
        low, span = self._low, self._span
        before, after = low + change.before * span, low + change.after * span
        message = f"the mean of {self._voice.signal} went from {before:.4g} to {after:.4g}"
        evidence = {
            "before": before,
            "after": after,
            "before_n": float(change.before_n),
            "after_n": float(change.after_n),
        }
        return self._voice.alert(seen, message, evidence)

    def state(self) -> State:
        """Return the scale, what it is learned from, and ADWIN's window."""
        return {"low": self._low, "span": self._span, "reference": self._reference, "adwin": self._adwin.state()}

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        self._low, self._span, self._reference = state["low"], state["span"], list(state["reference"])
        self._adwin.restore(state["adwin"])
