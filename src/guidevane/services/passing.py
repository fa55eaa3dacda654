"""How one of our rooms reads what another wrote: decoded already where both are in one process.

An event's id, times and protected fields stand on each of our topics: in one process they are written once, and go
along as its *envelope* (:mod:`guidevane.pieces`).
"""

from __future__ import annotations

import struct
from operator import add
from typing import TYPE_CHECKING, Any, Final, Generic, Required, TypeAlias, TypedDict, TypeVar, cast, final, get_args

from guidevane.codec import FRAME_BYTES
from guidevane.events import Accepted, Features, MemberStatus, OutcomeKind
from guidevane.log import Message
from guidevane.pieces import longs, maps, texts, times_of
from guidevane.reader import GIVEN_UP, Odd
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
_TIMES: Final = struct.Struct("<QQ").unpack_from
# The largest size that one byte tells, and the largest that two do, in zigzag.
_SHORT, _LONGEST = 0x7F, 0x3FFF

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
    ``quick`` makes of what picks them from behind the deadline on something else that does, and then tells ``told``.
    """

    def __init__(
        self,
        codec: Codec,
        name: str,
        fields: Sequence[str],
        quick: Callable[[Pick], Pick] | None = None,
        told: Sequence[str] = (),
    ) -> None:
        behind = (*fields, "protected")
        self._frame, pick = codec.behind(name, _HEAD, behind)
        self._quick = pick if pick is None or quick is None else quick(pick)
        self._names = (*_HEAD, *(told or fields), "protected", "envelope")
        self._all = (*_HEAD, *behind)
        self._pick = codec.picker(name, self._all)

    def __call__(self, records: Sequence[Record]) -> list[T_co]:
        """Return an event a record. Raises ``Reject`` where one is none, as its decoder does."""
        bodies = [record.body for record in records]
        if None not in bodies:
            return cast("list[T_co]", bodies)
        if self._quick is not None and not any(bodies):
            try:
                return cast("list[T_co]", self._together(records, self._quick))
            except GIVEN_UP:
                # Not plain, or not right: looked at one by one.
                pass
        return [cast("T_co", record.body) if record.body is not None else self._alone(record) for record in records]

    def _together(self, records: Sequence[Record], quick: Pick) -> list[dict[str, Any]]:
        frame, rows = self._frame, list[tuple[str, bytes, bytes, int, int, tuple[Any, ...]]]()
        for record in records:
            value = record.value
            if value is None or not value.startswith(frame):
                raise Odd
            size, begin = value[FRAME_BYTES], FRAME_BYTES + 1
            if size > _SHORT:
                size, begin = size & _SHORT | value[begin] << 7, begin + 1
            if size & 1 or size > _LONGEST:
                raise Odd
            at = begin + (size >> 1)
            time, due = _TIMES(value, at)
            rows.append((
                value[begin:at].decode(), value[FRAME_BYTES : at + 8], value[at + 8 : at + 16], time, due,
                quick(value, at + 16),
            ))  # fmt: skip
        ids, named, due_bytes, times, dues, behind = zip(*rows, strict=True)
        protected = maps([each[-1] for each in behind])
        return [
            dict(zip(self._names, (event_id, time, due, *fields, envelope), strict=True))
            for event_id, time, due, fields, envelope in zip(
                ids, times_of(times), times_of(dues), behind, zip(named, due_bytes, protected, strict=True), strict=True
            )
        ]

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
