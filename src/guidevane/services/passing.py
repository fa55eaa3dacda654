"""How one of our rooms reads what another wrote: decoded already where both are in one process.

An event's id, times and protected fields stand on each of our topics: in one process they are written once, and go
along as its *envelope* (:mod:`guidevane.pieces`).
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, cast, final, get_args, get_type_hints

from guidevane.events import Accepted, Features, MemberStatus, OutcomeKind
from guidevane.log import Message
from guidevane.pieces import longs, maps, texts
from guidevane.runtime.stage import ORIGIN
from guidevane.writer import UNFIT, long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.codec import Codec
    from guidevane.events import Prediction
    from guidevane.log import Headers, Record
    from guidevane.pieces import Column, Parts

T = TypeVar("T")

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


def reader(codec: Codec, name: str, kind: type[T]) -> Callable[[Record], T]:
    """Return a function from a record of our own topics to its event: the fields that ``kind`` requires.

    Maps at the end of a value (the protected fields) are shared between events: they are not to be changed.
    """
    required: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
    fields = tuple(field for field in get_type_hints(kind) if field in required)
    pick = codec.picker(name, fields)

    def read(record: Record) -> T:
        if record.body is not None:
            return cast("T", record.body)
        return cast("T", dict(zip(fields, pick(record.value, record.headers), strict=True)))

    return read


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
    headers = [
        had
        # Mostly made in this process a stage ago, and nothing is said anew.
        if record.origin is not None and len(had := record.headers) == 2 and _ours(had)  # noqa: PLR2004
        else ((EVENT_ID, event["event_id"].encode()),)
        for record, event in zip(records, events, strict=True)
    ]
    return list(map(Message._make, zip([record.key for record in records], values, headers, bodies, strict=True)))


def _ours(headers: Headers) -> bool:
    return headers[0][0] == EVENT_ID and headers[1][0] == ORIGIN
