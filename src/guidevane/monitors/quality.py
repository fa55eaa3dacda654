"""Data quality: what is missing, out of range or unknown, per field, over the last events."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import numpy as np
from pydantic import Field as Bound

from guidevane.monitors.monitor import REARM_SHARE, Crossing, Voice, unknown
from guidevane.word import word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from guidevane.event import Event
    from guidevane.events import Alert
    from guidevane.monitors.monitor import Batch, Seen, Source, State, Watched
    from guidevane.word import Mistake

Share = Annotated[float, Bound(ge=0, le=1)]

_INTEGERS: Final = {int, bool}
_FLOATS: Final = {float}
_TEXTS: Final = {str, bytes}
_NAMES: Final = _INTEGERS | {str}
# What an array of whole numbers can hold.
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 63) - 1
FINE: Final = 0
FAULTS: Final = ("fine", "missing", "out_of_range", "unknown_category")


@word
class Quality:
    """Watch each field for values that are missing, outside their declared range, or of an unknown category.

    Shares are of the last ``window`` events; nothing is said before that many were seen. A fault
    is told once when its share goes above the limit, and again after it was back below 80 % of it.
    Ranges are those of the event contract, ``categories`` the values known of a field; what is not declared is not
    checked. NaN counts as missing, infinity as out of range.

    >>> Quality(max_missing_share=2.0)
    Traceback (most recent call last):
    guidevane.errors.Misconfigured: Quality.max_missing_share: input should be less than or equal to 1, got 2.0
    """

    fields: Literal["all"] | tuple[str, ...] = "all"
    max_missing_share: Share = 0.05
    max_out_of_range_share: Share = 0.01
    max_unknown_share: Share = 0.01
    categories: dict[str, tuple[str | int, ...]] = Bound(default_factory=dict)
    window: Annotated[int, Bound(ge=1)] = 1000
    name: str = "quality"

    def mistakes_against(self, pipeline: Watched) -> Iterator[Mistake]:
        """Tell of fields that the event does not have."""
        if self.fields != "all":
            yield from unknown("field", self.fields, pipeline.event.fields, "fields")
        yield from unknown("field", self.categories, pipeline.event.fields, "categories")
        for field, known in self.categories.items():
            yield from (wrong.under(f"categories.{field}") for wrong in pipeline.event.strangers(field, known))

    def watch(self, pipeline: Watched) -> list[FieldQuality]:
        """Build one monitor per field, ``<name>.<field>``."""
        event = pipeline.event
        return [
            FieldQuality(
                Voice(pipeline.name, f"{self.name}.{field}", "quality", field), self._check(event, field), self
            )
            for field in (event.fields if self.fields == "all" else self.fields)
        ]

    def _check(self, event: Event, field: str) -> Check:
        largest = sys.float_info.max
        low, high = event.ranges.get(field, (-largest, largest))
        known = self.categories.get(field)
        return Check(
            field in event.numeric_fields,
            max(low, -largest),
            min(high, largest),
            None if known is None else frozenset(known),
        )


@dataclass(frozen=True, slots=True)
class Check:
    """What one value is held against: its bounds (inclusive) where it is a number, and its categories if declared."""

    numeric: bool
    low: float
    high: float
    categories: frozenset[str | int] | None

    def __call__(self, value: object) -> int:
        """Return the verdict on one value, a place in ``FAULTS``.

        >>> check = Check(True, 0.0, 120.0, None)
        >>> [FAULTS[check(value)] for value in (None, float("nan"), 130, 40)]
        ['missing', 'missing', 'out_of_range', 'fine']
        """
        if value is None:
            return 1
        # One comparison tells the good from all of NaN, infinity and out of range.
        if self.numeric and isinstance(value, (int, float)) and not self.low <= value <= self.high:
            return 1 if value != value else 2  # noqa: PLR0124 - NaN is the value that differs from itself
        if self.categories is None or (isinstance(value, (str, int)) and value in self.categories):
            return FINE
        return 3

    def all(self, values: Sequence[object]) -> bytes | None:
        r"""Return the verdicts on many values, a byte each; ``None`` where every one is fine.

        >>> check = Check(True, 0.0, 120.0, None)
        >>> check.all([40, None, 130]), check.all([1, 2, 3])
        (b'\x00\x01\x02', None)
        """
        if self._fine(values):
            return None
        verdicts = bytes(map(self, values))
        return verdicts if any(verdicts) else None

    def passes(self, numbers: NDArray[Any]) -> bool:
        """Tell whether all of these numbers are fine; no only means that this quick look cannot say.

        >>> check = Check(True, 0.0, 120.0, None)
        >>> check.passes(np.array([40, 130])), check.passes(np.array([40.0, 1.0])), check.passes(np.array([np.nan]))
        (False, True, False)
        """
        if self.categories is not None:
            return False
        if not self.numeric or (numbers.dtype.kind != "f" and self.low <= _LEAST and self.high >= _MOST):
            return True
        # As Python's own numbers, which compare exactly; where there is a NaN, it is both.
        return bool(self.low <= numbers.min().item() and numbers.max().item() <= self.high)

    def _fine(self, values: Sequence[object]) -> bool:
        """Tell whether all values are fine; no only means that this quick look cannot say."""
        kinds = set(map(type, values))
        if self.numeric and not kinds <= _TEXTS:
            # NaN compares with nothing, so that the least and the greatest say nothing of it; a sum has it.
            numbers = cast("Sequence[float]", values)
            whole = kinds <= _INTEGERS or (kinds == _FLOATS and math.isfinite(sum(numbers)))
            if not (whole and self.low <= min(numbers) and max(numbers) <= self.high):
                return False
        if self.categories is None:
            return type(None) not in kinds
        return kinds <= _NAMES and self.categories.issuperset(values)


class FieldQuality:
    """The quality of one field: a ring of the last verdicts, and how many there are of each."""

    reads: Source = "accepted"

    def __init__(self, voice: Voice, check: Check, declared: Quality) -> None:
        self.name = voice.monitor
        self._voice = voice
        self._field = voice.signal
        self.fields = (voice.signal,)
        self._check = check
        limits = (declared.max_missing_share, declared.max_out_of_range_share, declared.max_unknown_share)
        self._crossings = [Crossing(limit) for limit in limits]
        self._ring = bytearray(declared.window)
        self._at = 0
        self._full = False
        # The window is full, all in it is fine, and all that was told is over: one more fine value changes nothing.
        self._calm = False
        self._counts = [declared.window, 0, 0, 0]

    def observe(self, seen: Seen) -> Alert | None:
        """Judge the field of one event."""
        told = self._take(self._check(seen.value.get(self._field)))
        return None if told is None else self._voice.alert(seen, *told)

    def observe_all(self, batch: Batch) -> list[tuple[int, Alert]]:
        """Judge the field of many events."""
        numbers = batch.numbers(self._field)
        if numbers is not None and self._check.passes(numbers):
            verdicts = None
        else:
            verdicts = self._check.all(batch.column(self._field))
        if (verdicts is None and self._calm) or self._quietly(verdicts or bytes(len(batch))):
            return []
        found = enumerate(map(self._take, verdicts or bytes(len(batch))))
        return [(at, self._voice.alert(batch.seen(at), *told)) for at, told in found if told is not None]

    def _quietly(self, verdicts: bytes) -> bool:
        """Take many verdicts at once, where none of them begins or ends what is told; tell whether that was so."""
        if self._calm or not self._full:
            return False
        window, ring = len(self._ring), bytes(self._ring)
        # Each verdict puts out the one that is a window before it: oldest first, then what comes.
        stream = ring[self._at :] + ring[: self._at] + verdicts
        faults = np.frombuffer(stream, np.uint8)
        if not _counts(faults != FINE, window).all():
            # All was fine for a moment: from then on the ring stands still.
            return False
        for fault, crossing in enumerate(self._crossings, start=1):
            if not crossing.raised and fault not in stream:
                continue
            shares = _counts(faults == fault, window) / window
            limit = crossing.limit
            if not (shares.min() > limit * REARM_SHARE if crossing.raised else shares.max() <= limit):
                return False
        last = stream[len(verdicts) :]
        self._at = (self._at + len(verdicts)) % window
        start = window - self._at
        self._ring = bytearray(last[start:] + last[:start])
        self._recount()
        return True

    def _take(self, verdict: int) -> tuple[str, dict[str, float]] | None:
        if self._calm and verdict == FINE:
            return None
        ring, at = self._ring, self._at
        gone = ring[at]
        if verdict != gone:
            ring[at] = verdict
            self._counts[gone] -= 1
            self._counts[verdict] += 1
        self._at = (at + 1) % len(ring)
        self._full = self._full or self._at == 0
        told = self._speak() if self._full else None
        self._calm = self._is_calm()
        return told

    def _recount(self) -> None:
        self._counts = [self._ring.count(verdict) for verdict in range(len(FAULTS))]
        self._calm = self._is_calm()

    def _is_calm(self) -> bool:
        return self._full and self._counts[FINE] == len(self._ring) and not any(c.raised for c in self._crossings)

    def _speak(self) -> tuple[str, dict[str, float]] | None:
        window = len(self._ring)
        # One event, one alert: a second fault stays uncrossed and is told at the next event.
        for fault, crossing in enumerate(self._crossings, start=1):
            share = self._counts[fault] / window
            if crossing.above(share):
                what = f"{share:.1%} of the last {window} values of {self._voice.signal}"
                message = f"{what} are {FAULTS[fault]}, more than {crossing.limit:.1%}"
                evidence = {f"{name}_share": count / window for name, count in zip(FAULTS, self._counts, strict=True)}
                return message, {**evidence, "limit": crossing.limit, "window": float(window)}
        return None

    def state(self) -> State:
        """Return the ring as digits, and what was told."""
        return {
            "ring": "".join(map(str, self._ring)),
            "at": self._at,
            "full": self._full,
            "raised": [crossing.raised for crossing in self._crossings],
        }

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        self._ring = bytearray(map(int, state["ring"]))
        self._at, self._full = state["at"], state["full"]
        for crossing, raised in zip(self._crossings, state["raised"], strict=True):
            crossing.raised = raised
        self._recount()


def _counts(marks: NDArray[np.bool_], window: int) -> NDArray[np.int64]:
    """Return how many marks stand in the window that ends with each one, from the second window on.

    >>> _counts(np.array([True, False, True, True, False]), 3).tolist()
    [2, 2]
    """
    sums = np.cumsum(marks)
    found: NDArray[np.int64] = sums[window:] - sums[:-window]
    return found
