"""Windows over event time: how often, how much, how many different ones, of the events of one key.

An event sees, of those that came before it in its partition, the ones whose time lies in its window, and itself. The
window is Kafka's and Faust's hopping window that began first of those that hold the event: it ends with the step the
event lies in, and reaches back ``size_s``. No clock is asked. What a window says depends on the order of the events
alone, to the byte: sums are exact, and rounded once. ``docs/decisions/0007-windows.md`` has the rules for late events.
"""

from __future__ import annotations

import hashlib
import math
import struct
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, cast

import numpy as np
from pydantic import Field

from guidevane.errors import Misconfigured
from guidevane.features.asking import AsksNumbers
from guidevane.word import Mistake, word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from guidevane.features.columns import Columns

# Names that no field can have: an Avro name holds no dot.
KEY = "event.key"
TIME = "event.time_us"
MOST_PANES = 1000

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Kept(NamedTuple):
    """What one window word holds of one key: the newest pane that was seen, and what is in each pane still needed."""

    newest: int
    panes: Mapping[int, Any]


class Window:
    """What all windows have in common: time is cut into panes of one step, and a window is the last few of them."""

    field: str
    size_s: float
    step_s: float | None
    late_s: float
    at: str
    name: str
    kind: ClassVar[str]
    pane_bytes: int
    """The most that one pane can take in the changelog."""

    def __post_init__(self) -> None:
        if not self.name and isinstance(self.size_s, (int, float)):
            object.__setattr__(self, "name", f"{self._of}{self.kind}_{self.size_s:g}s")

    @property
    def _of(self) -> str:
        return f"{self.field}." if self.field else ""

    @property
    def time(self) -> str:
        """The column that says when an event happened, microseconds since the epoch."""
        return self.at or TIME

    @property
    def reads(self) -> tuple[str, ...]:
        """The field, the key, the time."""
        return (*((self.field,) if self.field else ()), KEY, self.time)

    @property
    def writes(self) -> tuple[str, ...]:
        """Its own name."""
        return (self.name,)

    @cached_property
    def step_us(self) -> int:
        """How long a pane is."""
        return round((self.step_s or self.size_s) * 1e6)

    @cached_property
    def count(self) -> int:
        """How many panes a window has."""
        return round(self.size_s * 1e6) // self.step_us

    @cached_property
    def kept(self) -> int:
        """How many panes are kept, for events that come late."""
        return self.count + -(-round(self.late_s * 1e6) // self.step_us)

    @property
    def most_bytes(self) -> int:
        """The most that one key can take in the changelog."""
        return self.kept * self.pane_bytes

    def see(self, held: Kept | None, time: object, raw: object) -> tuple[Kept | None, float]:
        """Return what is held after an event, and what the event sees; NaN where it has no time."""
        if isinstance(time, bool) or not isinstance(time, (int, float)) or not math.isfinite(time):
            return held, math.nan
        # A column of times is one of doubles: what serving reads as a whole number must not be finer.
        pane = int(float(time)) // self.step_us
        newest = max(held.newest, pane) if held is not None else pane
        panes = dict(held.panes) if held is not None else {}
        value = self._value(raw)
        if value is not None:
            panes[pane] = self._add(panes.get(pane), value)
        found = self._read(kept for number, kept in panes.items() if pane - self.count < number <= pane)
        oldest = newest - self.kept + 1
        if any(number < oldest for number in panes):
            panes = {number: kept for number, kept in panes.items() if number >= oldest}
        return Kept(newest, panes), found

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns with ``name``, float64[n]: rows are events in the order in which they came.

        This is for training; serving keeps, from event to event, what :meth:`see` returns.
        """
        keys = columns[KEY].tolist() if KEY in columns else [None]
        if any(key is None or key != key for key in keys):  # noqa: PLR0124 - NaN is the one value that is unlike itself
            raise Misconfigured(f"'{self.name}' needs each event's key as column '{KEY}' → pipeline.columns(events)")
        times = columns[self.time].tolist()
        values = columns[self.field].tolist() if self.field else [None] * len(keys)
        held: dict[object, Kept | None] = {}
        seen = np.empty(len(keys), dtype=np.float64)
        for row, (key, time, value) in enumerate(zip(keys, times, values, strict=True)):
            held[key], seen[row] = self.see(held.get(key), time, value)
        return {**columns, self.name: seen}

    def dump(self, pane: Any) -> object:
        """Return a pane as JSON can hold it."""
        raise NotImplementedError

    def load(self, written: Any) -> Any:
        """Return the pane that was written."""
        raise NotImplementedError

    def _value(self, raw: object) -> Any:
        raise NotImplementedError

    def _add(self, pane: Any, value: Any) -> Any:
        raise NotImplementedError

    def _read(self, panes: Iterable[Any]) -> float:
        raise NotImplementedError

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of windows that are not made of whole steps, and of too many of them."""
        size_us = round(self.size_s * 1e6)
        if self.step_us < 1 or size_us % self.step_us:
            yield Mistake("step_s", f"{self.size_s:g} s are not whole steps of {self.step_s} s", "divide the size")
        elif self.kept > MOST_PANES:
            yield Mistake("step_s", f"makes {self.kept} panes a key, at most {MOST_PANES}", "take a longer step")


@word
class WindowCount(Window):
    """How many events of the key there are in the window, this one among them.

    A window without ``step_s`` tumbles: the next one begins where it ends. With it, windows hop by ``step_s``.
    ``late_s`` is how long behind the key's newest event another may be and still see all of its window; ``at`` names
    the field with the time, where it is not the event's own.

    >>> visits = WindowCount(size_s=3600, name="visits")
    >>> hour = 3_600_000_000
    >>> events = {"event.key": np.array(["a", "a", "b", "a"]), "event.time_us": np.array([5, 9, 9, hour])}
    >>> visits(events)["visits"].tolist()
    [1.0, 2.0, 1.0, 1.0]
    """

    size_s: Seconds
    step_s: Seconds | None = None
    late_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    at: str = ""
    name: str = ""
    field: ClassVar[str] = ""  # type: ignore[misc]  # it counts events, whatever is in them
    kind: ClassVar[str] = "count"
    pane_bytes: ClassVar[int] = 40  # type: ignore[misc]  # the same for each of them

    def dump(self, pane: Any) -> object:
        """Return the count."""
        return pane

    def load(self, written: Any) -> Any:
        """Return the count."""
        return int(written)

    def _value(self, raw: object) -> Any:
        del raw
        return 1

    def _add(self, pane: Any, value: Any) -> Any:
        return (pane or 0) + value

    def _read(self, panes: Iterable[Any]) -> float:
        return float(sum(panes))


class Total(NamedTuple):
    """An exact sum: ``numerator / 2 ** scale``, of ``values`` numbers."""

    values: int
    numerator: int
    scale: int


@word
class WindowMean(AsksNumbers, Window):
    """The mean of a field over the window, missing values left out; NaN where there are none (``Fill`` can follow).

    >>> mean = WindowMean("price", size_s=7200, step_s=3600, name="mean")
    >>> hour = 3_600_000_000
    >>> events = {
    ...     "event.key": np.array(["nsw"] * 3),
    ...     "event.time_us": np.array([0, hour, 2 * hour]),
    ...     "price": np.array([10.0, 20.0, 50.0]),
    ... }
    >>> mean(events)["mean"].tolist()
    [10.0, 15.0, 35.0]
    """

    field: Annotated[str, Field(min_length=1)]
    size_s: Seconds
    step_s: Seconds | None = None
    late_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    at: str = ""
    name: str = ""
    kind: ClassVar[str] = "mean"
    # A double is a whole number of 2 ** -1074, and below 2 ** 1024.
    pane_bytes: ClassVar[int] = 620  # type: ignore[misc]  # the same for each of them

    def dump(self, pane: Any) -> object:
        """Return count, numerator and scale; the numerator as text, for it may be long."""
        total = cast("Total", pane)
        return [total.values, f"{total.numerator:x}", total.scale]

    def load(self, written: Any) -> Any:
        """Return the sum that was written."""
        values, numerator, scale = written
        return Total(int(values), int(numerator, 16), int(scale))

    def _value(self, raw: object) -> Any:
        if not isinstance(raw, (int, float)) or not math.isfinite(raw):
            return None
        numerator, denominator = float(raw).as_integer_ratio()
        return Total(1, numerator, denominator.bit_length() - 1)

    def _add(self, pane: Any, value: Any) -> Any:
        return value if pane is None else _sum((pane, value))

    def _read(self, panes: Iterable[Any]) -> float:
        total = _sum(panes)
        # Python divides whole numbers exactly and rounds once: no order of the events shows in it.
        return total.numerator / (total.values << total.scale) if total.values else math.nan


def _sum(totals: Iterable[Total]) -> Total:
    values = numerator = scale = 0
    for count, part, finer in totals:
        values += count
        if finer > scale:
            numerator, scale = (numerator << (finer - scale)) + part, finer
        else:
            numerator += part << (scale - finer)
    return Total(values, numerator, scale)


@word
class WindowDistinct(Window):
    """How many different values a field had in the window, counted up to ``at_most``; missing ones are none.

    >>> shops = WindowDistinct("shop", size_s=86_400, name="shops")
    >>> events = {
    ...     "event.key": np.array(["ann"] * 3),
    ...     "event.time_us": np.array([1, 2, 3]),
    ...     "shop": np.array(["baker", "smith", "baker"], dtype=object),
    ... }
    >>> shops(events)["shops"].tolist()
    [1.0, 2.0, 2.0]
    """

    field: Annotated[str, Field(min_length=1)]
    size_s: Seconds
    step_s: Seconds | None = None
    late_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    at: str = ""
    at_most: Annotated[int, Field(ge=1)] = 100
    name: str = ""
    kind: ClassVar[str] = "distinct"

    @property
    def pane_bytes(self) -> int:  # type: ignore[override]  # here it depends on the limit
        """As many values as there may be, in hex."""
        return 30 + 38 * self.at_most

    def dump(self, pane: Any) -> object:
        """Return the values, sorted."""
        return sorted(value.hex() for value in pane)

    def load(self, written: Any) -> Any:
        """Return the values that were written."""
        return frozenset(bytes.fromhex(value) for value in written)

    def _value(self, raw: object) -> Any:
        match raw:
            case int() | float():
                # The same number is the same value, whichever type a batch gave it; -0.0 is 0.0.
                return b"n" + struct.pack("<d", float(raw) + 0.0) if raw == raw else None  # noqa: PLR0124 - NaN
            case str():
                return _short(b"s", raw.encode(errors="surrogatepass"))
            case bytes():
                return _short(b"b", raw)
            case _:
                return None

    def _add(self, pane: Any, value: Any) -> Any:
        values = cast("frozenset[bytes]", pane) if pane is not None else frozenset[bytes]()
        # One full pane is enough to know that the window is full.
        return values if len(values) >= self.at_most else values | {value}

    def _read(self, panes: Iterable[Any]) -> float:
        return float(min(len(frozenset().union(*panes)), self.at_most))


def _short(sort: bytes, value: bytes) -> bytes:
    return sort + (value if len(value) < 16 else hashlib.blake2b(value, digest_size=16).digest())  # noqa: PLR2004 - as long as its hash
