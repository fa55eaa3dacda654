"""What every monitor has in common: it watches and speaks, it never touches.

An author declares a monitor as a word (:class:`Declared`). ``watch`` builds its live counterparts
(:class:`Monitor`), one per signal: they hold state, but no consumer, no producer, no clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from guidevane.coded import Coded
from guidevane.errors import Misconfigured
from guidevane.events import Alert, derived_id
from guidevane.word import Mistake, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized

    from numpy.typing import NDArray

    from guidevane.coded import Column
    from guidevane.event import Event

Source = Literal["accepted", "decisions", "outcomes"]
State = dict[str, Any]

REARM_SHARE: Final = 0.8
"""A limit that was crossed is watched again once the value is back below this share of it."""


class Seen(NamedTuple):
    """One event as a monitor sees it.

    ``value`` holds the event's own fields (``accepted``), the ``Decision`` or the ``Outcome``.
    """

    event_id: str
    event_time_us: int
    value: Mapping[str, Any]


class Monitor(Protocol):
    """A live monitor of one signal. Same events in the same order: same alerts, across ``state`` and ``restore``."""

    @property
    def name(self) -> str:
        """Name it, unique within the pipeline."""
        ...

    @property
    def reads(self) -> Source:
        """Say which events it wants."""
        ...

    def observe(self, seen: Seen) -> Alert | None:
        """Take one event; speak where it has something to say."""
        ...

    def state(self) -> State:
        """Return all that it remembers, as JSON can hold it."""
        ...

    def restore(self, state: State) -> None:
        """Remember what ``state`` returned."""
        ...


class Batch:
    """Events of one source, in order, as columns: what a monitor that reads many at once is given.

    Its columns are those that the monitors asked for, each as long as the batch; they are shared and not to be changed.

    >>> batch = Batch(["e1", "e2"], {"age": [40, None]}, lambda at: Seen(f"e{at + 1}", at, {}))
    >>> len(batch), batch.column("age"), batch.seen(1).event_id
    (2, [40, None], 'e2')
    """

    def __init__(self, events: Sized, columns: Mapping[str, Column], seen: Callable[[int], Seen]) -> None:
        self._events = events
        self._columns = columns
        self._seen = seen
        self._listed: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def column(self, name: str) -> Sequence[Any]:
        """Return one field of every event."""
        column = self._columns[name]
        if not isinstance(column, (np.ndarray, Coded)):
            return column
        if name not in self._listed:
            self._listed[name] = column.tolist()
        return self._listed[name]

    def numbers(self, name: str) -> NDArray[Any] | None:
        """Return one field of every event, where it was read as an array of numbers of one kind.

        >>> batch = Batch(["e1", "e2"], {"age": [40, None], "year": np.array([1, 2])}, lambda at: Seen("e", at, {}))
        >>> batch.numbers("age"), batch.numbers("year"), batch.column("year")
        (None, array([1, 2]), [1, 2])
        """
        column = self._columns[name]
        return column if isinstance(column, np.ndarray) else None

    def coded(self, name: str) -> Coded:
        """Return one field of every event by what stands there: for those that are few, as maps and enums are.

        >>> batch = Batch(["e1", "e2", "e3"], {"outcome": ["full", "shed", "full"]}, lambda at: Seen("e", at, {}))
        >>> coded = batch.coded("outcome")
        >>> coded.codes, coded.values
        (array([0, 1, 0]), ['full', 'shed'])
        """
        column = self._columns[name]
        if isinstance(column, Coded):
            return column
        # By what they are: maps are equal to nothing that could be looked up.
        keys = list(map(id, column))
        objects = dict(zip(keys, column, strict=True))
        places = {key: place for place, key in enumerate(objects)}
        return Coded(np.array([places[key] for key in keys], np.int64), list(objects.values()))

    def some(self, places: Sequence[int]) -> Batch:
        """Return the events at these places."""
        columns = {name: _some(column, places) for name, column in self._columns.items()}
        return Batch(places, columns, lambda at: self._seen(places[at]))

    def seen(self, at: int) -> Seen:
        """Return one event whole: whoever has something to say of it pays for reading it."""
        return self._seen(at)


def _some(column: Column, places: Sequence[int]) -> Column:
    if isinstance(column, Coded):
        return Coded(column.codes[places], column.values)
    return column[places] if isinstance(column, np.ndarray) else [column[at] for at in places]


@runtime_checkable
class Columnar(Protocol):
    """A live monitor that can take many events at once: a :class:`Monitor` with these two.

    However a stream is cut into batches, and if it is not: same alerts at the same events, same state.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Say which fields of its source it reads; each is one that the source has."""
        ...

    def observe_all(self, batch: Batch) -> Sequence[tuple[int, Alert]]:
        """Take a batch; return what there is to say, each with its event's place in the batch, in their order."""
        ...


class Watched(Protocol):
    """What monitors need to know of a pipeline."""

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        ...

    @property
    def event(self) -> Event:
        """Return its event contract."""
        ...


@runtime_checkable
class Declared(Protocol):
    """A monitor as an author declares it: your own must be a frozen value with these."""

    @property
    def name(self) -> str:
        """Name it, unique within the pipeline."""
        ...

    def mistakes_against(self, pipeline: Watched) -> Iterator[Mistake]:
        """Tell what is declared here and not there in the event contract; imports nothing heavy."""
        ...

    def watch(self, pipeline: Watched) -> Sequence[Monitor]:
        """Build the live monitors, one per signal."""
        ...


@dataclass(frozen=True, slots=True)
class Voice:
    """How one live monitor speaks.

    >>> Voice("employment", "parity.sex", "fairness", "sex").alert(Seen("e1", 7, {}), "a gap", {"gap": 0.2})["monitor"]
    'parity.sex'
    """

    pipeline: str
    monitor: str
    kind: str
    signal: str

    def alert(self, seen: Seen, message: str, evidence: dict[str, float]) -> Alert:
        """Return the alert of this event; its id is the same however often the event is replayed."""
        return Alert(
            alert_id=derived_id(self.pipeline, self.monitor, seen.event_id),
            pipeline=self.pipeline,
            monitor=self.monitor,
            kind=self.kind,
            signal=self.signal,
            message=message,
            event_id=seen.event_id,
            event_time_us=seen.event_time_us,
            evidence=evidence,
        )


class Crossing:
    """Tells once that a value went above its limit, and again only after it was clearly back below.

    >>> crossing = Crossing(0.10)
    >>> [crossing.above(value) for value in (0.09, 0.11, 0.12, 0.09, 0.11, 0.07, 0.11)]
    [False, True, False, False, False, False, True]
    """

    __slots__ = ("limit", "raised")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.raised = False

    def above(self, value: float) -> bool:
        """Take the next value; tell whether it is the one that crosses."""
        if self.raised:
            self.raised = value > self.limit * REARM_SHARE
            return False
        self.raised = value > self.limit
        return self.raised

    def crossed(self, values: NDArray[np.float64]) -> list[int]:
        """Take many values; return the places of those that cross, as :meth:`above` would tell.

        >>> Crossing(0.10).crossed(np.array([0.09, 0.11, 0.12, 0.09, 0.11, 0.07, 0.11]))
        [1, 6]
        """
        above, below = np.flatnonzero(values > self.limit), np.flatnonzero(values <= self.limit * REARM_SHARE)
        found: list[int] = []
        at = -1
        while True:
            turns = below if self.raised else above
            place = int(np.searchsorted(turns, at, side="right"))
            if place == len(turns):
                return found
            at = int(turns[place])
            self.raised = not self.raised
            if self.raised:
                found.append(at)


def unknown(what: str, names: Iterable[str], known: Sequence[str], path: str) -> Iterator[Mistake]:
    """Tell of each name that ``known`` does not hold.

    >>> [str(mistake) for mistake in unknown("field", ["aeg"], ["age", "sex"], "fields")]
    ["fields: there is no field 'aeg' → write 'age'"]
    """
    for name in names:
        if name not in known:
            yield Mistake(path, f"there is no {what} {name!r}", nearest(name, known))


def named_twice(declared: Sequence[Declared]) -> list[Mistake]:
    """Tell of names that several monitors have: what is remembered of one would be taken for the other's."""
    return [
        Mistake("monitors", f"{count} monitors have the name {name!r}", "give each its own name=...")
        for name, count in Counter(each.name for each in declared).items()
        if count > 1
    ]


def watch(declared: Sequence[Declared], pipeline: Watched) -> list[tuple[Declared, Monitor]]:
    """Build the live monitors of a pipeline, each with what declared it.

    Raises ``Misconfigured`` with every mistake at once: names that the event does not have, monitors of one name.
    """
    wrong = [mistake.under(each.name) for each in declared for mistake in each.mistakes_against(pipeline)]
    wrong += named_twice(declared)
    if wrong:
        raise Misconfigured("\n".join(map(str, wrong)))
    return [(each, monitor) for each in declared for monitor in each.watch(pipeline)]
