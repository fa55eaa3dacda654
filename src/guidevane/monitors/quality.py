"""Data quality: what is missing, out of range or unknown, per field, over the last events."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field as Bound

from guidevane.monitors.monitor import Crossing, Voice, unknown
from guidevane.word import word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.event import Event
    from guidevane.events import Alert
    from guidevane.monitors.monitor import Seen, Source, State, Watched
    from guidevane.word import Mistake

Share = Annotated[float, Bound(ge=0, le=1)]

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


class FieldQuality:
    """The quality of one field: a ring of the last verdicts, and how many there are of each."""

    reads: Source = "accepted"

    def __init__(self, voice: Voice, check: Check, declared: Quality) -> None:
        self.name = voice.monitor
        self._voice = voice
        self._field = voice.signal
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
        verdict = self._check(seen.value.get(self._field))
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
        alert = self._speak(seen) if self._full else None
        self._calm = self._is_calm()
        return alert

    def _is_calm(self) -> bool:
        return self._full and self._counts[FINE] == len(self._ring) and not any(c.raised for c in self._crossings)

    def _speak(self, seen: Seen) -> Alert | None:
        window = len(self._ring)
        # One event, one alert: a second fault stays uncrossed and is told at the next event.
        for fault, crossing in enumerate(self._crossings, start=1):
            share = self._counts[fault] / window
            if crossing.above(share):
                what = f"{share:.1%} of the last {window} values of {self._voice.signal}"
                message = f"{what} are {FAULTS[fault]}, more than {crossing.limit:.1%}"
                evidence = {f"{name}_share": count / window for name, count in zip(FAULTS, self._counts, strict=True)}
                return self._voice.alert(seen, message, {**evidence, "limit": crossing.limit, "window": float(window)})
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
        self._counts = [self._ring.count(verdict) for verdict in range(len(FAULTS))]
        for crossing, raised in zip(self._crossings, state["raised"], strict=True):
            crossing.raised = raised
        self._calm = self._is_calm()
