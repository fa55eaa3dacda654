"""How one of our rooms reads what another wrote: decoded already where both are in one process.

An event's id, times and protected fields stand on each of our topics: in one process they are written once, and go
along as its *envelope* (:mod:`guidevane.pieces`).
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Any, Final, Generic, Required, TypeAlias, TypedDict, TypeVar, cast, final, get_args

from guidevane.coded import values_of
from guidevane.columns import Columns
from guidevane.events import Accepted, Features, MemberStatus, OutcomeKind
from guidevane.log import Message
from guidevane.pieces import longs, maps, texts
from guidevane.reader import GIVEN_UP
from guidevane.runtime.stage import ORIGIN
from guidevane.writer import UNFIT, long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.codec import Codec
    from guidevane.events import Prediction
    from guidevane.log import Headers, Record
    from guidevane.picker import Pick
    from guidevane.pieces import Column, Parts

T_co = TypeVar("T_co", covariant=True)

_HEAD: Final = ("event_id", "event_time_us", "deadline_us")

EVENT_ID = "event_id"
"""The header that names the event on every topic, so that nobody must decode to know it."""

ID_CHARACTERS = 256
"""How long an event's id may be."""

Envelope: TypeAlias = tuple[bytes, bytes, bytes]
"""The Avro of an event's id and time, one behind the other; of its deadline; and of its protected fields."""

OUTCOMES = {outcome: long(place) for place, outcome in enumerate(get_args(OutcomeKind))}
STATUSES = {status: long(place) for place, status in enumerate(get_args(MemberStatus))}
"""The Avro of enums, whose symbols our contracts have in the same order."""


class Opened(Accepted, total=False):
    """An accepted event in the process that accepted it: ``fields`` are the event's own, as ``event`` holds them.

    They are there where decoding ``event`` would give the same values, type for type.
    """

    fields: dict[str, Any]
    envelope: Envelope | None


class Received(TypedDict, total=False):
    """What of an accepted event a feature vector needs."""

    event_id: Required[str]
    event_time_us: Required[int]
    deadline_us: Required[int]
    event: Required[bytes]
    protected: Required[dict[str, str]]
    fields: dict[str, Any]
    envelope: Envelope | None


class Drawn(Features, total=False):
    """A feature vector in the process that drew it."""

    envelope: Envelope | None


@final
class Scored(TypedDict):
    """What of a prediction a decision needs, in the process that predicted: ``models`` are the versions by member."""

    event_id: str
    event_time_us: int
    deadline_us: int
    score: float | None
    outcome: OutcomeKind
    models: dict[str, str]
    protected: dict[str, str]
    envelope: Envelope | None


Predicted: TypeAlias = "Prediction | Scored"
"""A prediction, as it was read or as its process knows it."""


class Reads(Generic[T_co]):
    """Reads a batch of one of our contracts: decoded already where one process wrote it, else by columns.

    All of them begin with an event's id, its time and its deadline. Of a whole batch these are read together, and kept
    as they are written: they are the envelopes of what is written next.

    ``fields`` are read besides; protected fields are in any case, and are shared between events, not to be changed.
    ``quick`` makes of what picks them from behind the deadline on something else that does, and then tells ``told``:
    for what no column can be made of.
    """

    def __init__(
        self,
        codec: Codec,
        name: str,
        fields: Sequence[str],
        quick: Callable[[Pick], Pick] | None = None,
        told: Sequence[str] = (),
    ) -> None:
        schema, behind = codec.catalogue.latest(name), (*fields, "protected")
        pick = None if quick is None else codec.behind(name, _HEAD, behind)
        self._quick = None if quick is None or pick is None else quick(pick)
        self._behind = (*(told if self._quick is not None else fields), "protected")
        wanted = _HEAD if self._quick is not None else (*_HEAD, *behind)
        self._columns = Columns(schema, wanted, cut=[("event_id", "event_time_us"), ("deadline_us", "deadline_us")])
        self._all = (*_HEAD, *behind)
        self._pick = codec.picker(name, self._all)

    def __call__(self, records: Sequence[Record]) -> list[T_co]:
        """Return an event a record. Raises ``Reject`` where one is none, as its decoder does."""
        bodies = [record.body for record in records]
        if None not in bodies:
            return cast("list[T_co]", bodies)
        if not any(bodies) and (together := self._together([record.value for record in records])) is not None:
            return cast("list[T_co]", together)
        return [cast("T_co", record.body) if record.body is not None else self._alone(record) for record in records]

    def _together(self, values: Sequence[bytes | None]) -> list[dict[str, Any]] | None:
        """Return the events in many values; ``None`` where they are to be looked at one by one."""
        found = self._columns.cut(values)
        if found is None:
            return None
        whole = cast("Sequence[bytes]", values)
        named, due = ([v[b:e] for v, b, e in zip(whole, *place, strict=True)] for place in found.places)
        if self._quick is None:
            behind = [values_of(found.columns[name]) for name in self._behind]
        else:
            try:
                picked = [self._quick(value, at) for value, at in zip(whole, found.end.tolist(), strict=True)]
            except GIVEN_UP:
                return None
            behind = list(map(list, zip(*picked, strict=True)))
        heads = (values_of(found.columns[name]) for name in _HEAD)
        columns = (*heads, *behind, zip(named, due, maps(behind[-1]), strict=True))
        names = (*_HEAD, *self._behind, "envelope")
        return [dict(zip(names, event, strict=True)) for event in zip(*columns, strict=True)]

    def _alone(self, record: Record) -> T_co:
        return cast("T_co", dict(zip(self._all, self._pick(record.value, record.headers), strict=True)))


class Writes:
    """Writes a batch in one contract: its columns joined, or where one does not fit, body by body.

    So what is told of a body that does not fit is told of that body alone.
    """

    def __init__(self, codec: Codec, name: str) -> None:
        self._layout = codec.layout(name)
        self._encode = codec.encoder(name)

    def __call__(
        self,
        events: Sequence[Mapping[str, Any]],
        columns: Callable[[list[bytes], list[bytes], list[bytes]], Mapping[str, Column | Parts]],
        bodies: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> list[bytes]:
        """Return the values. What fastavro raises for a body passes through.

        ``columns`` is given those of the events' envelopes: ids with times, deadlines, protected fields.
        """
        if not events:
            return []
        try:
            named, due, protected = map(list, zip(*envelopes(events), strict=True))
            return self._layout(len(events), columns(named, due, protected))
        except UNFIT:
            return [self._encode(body) for body in bodies()]


def envelopes(events: Sequence[Mapping[str, Any]]) -> list[Envelope]:
    """Return the envelope of each: made anew, but where all have one. Raises one of ``UNFIT``."""
    given = [event.get("envelope") for event in events]
    if None not in given:
        return cast("list[Envelope]", given)
    ids, times = texts([event["event_id"] for event in events]), longs([event["event_time_us"] for event in events])
    due = longs([event["deadline_us"] for event in events])
    return list(zip(map(add, ids, times), due, maps([event["protected"] for event in events]), strict=True))


def answers(
    records: Sequence[Record], events: Sequence[Mapping[str, Any]], values: Sequence[bytes], bodies: Sequence[object]
) -> list[Message]:
    """Return a message for each record, under its key and the id of its event."""
    headers = [_headers(record, event["event_id"].encode()) for record, event in zip(records, events, strict=True)]
    return list(map(Message._make, zip([record.key for record in records], values, headers, bodies, strict=True)))


def _headers(record: Record, event_id: bytes) -> Headers:
    had = record.headers
    if len(had) == 2 and had[0] == (EVENT_ID, event_id) and had[1][0] == ORIGIN:  # noqa: PLR2004
        # Nothing is said anew.
        return had
    return ((EVENT_ID, event_id),)
