"""The whole of the hot path's work, as one process does it without a platform: four topics written, and dead letters.

What ``fused`` and ``topics`` do to an event, around :class:`loadtests.stream.work.Work`: hold it to its contract,
drop it where its id came lately, give its person a pseudonym, stamp the deadline, and write what was accepted, the
features, the prediction and the decision. It is plain Python with fastavro, as one would write it for this contract;
what remembers ids and gives pseudonyms is our own.

It leaves out what our rooms do besides: JSON and other writers' schemas, headers, telling how it does, looking up what
is answered already when it starts. An event is held against this process's clock, where ours takes its record's time.
"""

from __future__ import annotations

import struct
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

from fastavro import schemaless_reader

from guidevane.catalogue import Catalogue
from guidevane.errors import Reject
from guidevane.events import derived_id
from guidevane.pieces import vectors
from guidevane.pipelines.employment import pipeline
from guidevane.runtime.deadletter import CAUSE
from guidevane.services.ingest.persons import Pseudonyms
from guidevane.services.ingest.window import Window
from guidevane.services.passing import ID_CHARACTERS
from guidevane.topics import Topics
from loadtests.stream.work import FRAME_BYTES, Work, encoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Came: TypeAlias = tuple[int, int, bytes | None, bytes | None]
"""A record as it came: partition, offset, key, value."""

Sent: TypeAlias = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""A record as it goes: key, value, headers."""

Written: TypeAlias = dict[tuple[str, int], list[Sent]]
"""What is to be written, by topic and partition, in the order of the events."""

_REMEMBERED = 10_000
_INT = (-(1 << 31), (1 << 31) - 1)
# What fastavro was seen to raise for bytes that are no such event.
_UNREADABLE = (EOFError, LookupError, ValueError, ArithmeticError, TypeError, struct.error)
_NO_HEADERS: list[tuple[str, bytes]] = []


def whole_of(events: str) -> Whole:
    """Return what does the work for who reads this topic; those that it writes to have the same beginning."""
    return Whole(Topics(events.removesuffix(".events")))


class Whole:
    """Answers batches with all that is to be written of them. Load it once: the models take seconds.

    It is given the topics by what they carry; ``topics`` are the names of those that it writes
    to, ``dead_letters`` among them.
    """

    def __init__(self, topics: Topics, work: Work | None = None, *, secret: bytes = b"bench" * 8) -> None:
        self._work = work or Work()
        catalogue, event = Catalogue([pipeline.event]), pipeline.event
        own = catalogue.version(event.name, event.version)
        self._frame, self._schema = struct.pack(">BI", 0, own.id), own.parsed
        self._encode = encoder(own)
        self._events, self.dead_letters = topics.events, topics.dlq
        self._outputs = (topics.accepted, topics.features, topics.predictions, topics.decisions)
        self.topics = (*self._outputs, topics.dlq)
        self._encoders = tuple(encoder(catalogue.latest(name)) for name in ("accepted", "features", "prediction"))
        self._bounds = [(name, *event.ranges.get(name, _INT)) for name in event.fields if event.kinds(name) == {"int"}]
        self._texts = [name for name in event.fields if event.kinds(name) == {"string"}]
        self._pseudonym = Pseudonyms(secret)
        self._window = Window(_REMEMBERED)
        self._constant = {"contract": event.contract, "feature_set": pipeline.vector.identity, "outcome": "full"}

    def __call__(self, came: Sequence[Came]) -> Written:
        """Return what is to be written of a batch; of an event that came lately, nothing."""
        began_s, now_us = time.perf_counter(), time.time_ns() // 1000
        written: Written = {}
        events, bodies, places = self._accepted(came, now_us, written)
        if not events:
            return written
        matrix = self._work.matrix(events)
        asked_s = time.perf_counter()
        said = self._work.said(matrix)
        latency_us = int((time.perf_counter() - asked_s) * 1e6)
        scores = self._work.joined(said)
        batch = {"batch_size": len(events), "queued_us": int((asked_s - began_s) * 1e6)}
        accepted, features, prediction = self._encoders
        to: dict[int, list[list[Sent]]] = {}
        for partition in {partition for partition, _ in places}:
            to[partition] = [written.setdefault((topic, partition), []) for topic in self._outputs]
        members = self._members(said.T.tolist(), latency_us)
        for (partition, key), body, vector, score, spoken, decided in zip(
            places, bodies, vectors(matrix), scores.tolist(), members, self._work.answer(events, scores), strict=True
        ):
            # One body holds what all three contracts name; fastavro takes of it what is its own.
            body.update(batch)
            body["vector"], body["score"], body["members"] = vector, score, spoken
            values = (accepted(body), features(body), prediction(body), decided.value)
            for out, value in zip(to[partition], values, strict=True):
                out.append((key, value, _NO_HEADERS))
        return written

    def forget(self) -> None:
        """Forget which ids came: what could not be written is read again, and is no duplicate of itself."""
        self._window = Window(_REMEMBERED)

    def _accepted(
        self, came: Sequence[Came], now_us: int, written: Written
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[int, bytes]]]:
        """Return the events to decide on, what is written of each so far, and with which partition and key.

        What is refused is written on the way.
        """
        fresh: dict[str, int] = {}
        lately = self._window.holders
        time_bounds_us = pipeline.event.time_bounds_us(now_us)
        within_us, protected, pii = pipeline.slo.within_us, pipeline.event.protected, pipeline.event.pii
        events, bodies, places = [], [], []
        for partition, offset, key, value in came:
            try:
                event = self._read(value, time_bounds_us)
            except Reject as why:
                letter = (key, value, [(CAUSE, why.cause.encode())])
                written.setdefault((self.dead_letters, partition), []).append(letter)
                continue
            event_id = event["event_id"] or derived_id(self._events, str(partition), str(offset))
            if event_id in fresh or event_id in lately:
                continue
            fresh[event_id] = partition
            for name in pii:
                event[name] = self._pseudonym(event[name])
            encoded = self._encode(event)
            happened_us = event["observed_at_us"]
            at_us = now_us if happened_us is None else happened_us
            bodies.append(
                {
                    **self._constant,
                    "event_id": event_id,
                    "event_time_us": at_us,
                    "deadline_us": at_us + within_us,
                    "ingested_at_us": now_us,
                    "event": encoded,
                    "protected": {name: str(event[name]) for name in protected},
                }
            )
            event["event_id"], event["observed_at_us"] = event_id, at_us
            events.append(event)
            places.append((partition, event[pipeline.event.key].encode()))
        self._window.add_all(fresh)
        return events, bodies, places

    def _read(self, value: bytes | None, time_bounds_us: tuple[int, int]) -> dict[str, Any]:
        """Return the event in a value. Raises ``Reject`` where it is none, or breaks its contract."""
        if not value or value[:FRAME_BYTES] != self._frame:
            raise Reject("unknown_schema" if value else "empty", "this is no event of the contract's own version")
        data = BytesIO(value)
        data.seek(FRAME_BYTES)
        try:
            event: Any = schemaless_reader(data, self._schema, None)
        except _UNREADABLE as wrong:
            raise Reject("malformed", f"not to be decoded: {wrong!r:.120}") from wrong
        if data.tell() != len(value):
            raise Reject("trailing_bytes", f"{len(value) - data.tell()} bytes follow the event")
        for name, low, high in self._bounds:
            number = event[name]
            if number is not None and not low <= number <= high:
                raise Reject("out_of_range", f"field {name!r} is {number}, not within [{low}, {high}]")
        for name in self._texts:
            text = event[name]
            if text is not None and len(text) > pipeline.event.longest:
                raise Reject("too_long", f"field {name!r} has {len(text)} characters")
        if not event[pipeline.event.key]:
            raise Reject("empty_key", f"field {pipeline.event.key!r} is empty")
        if len(event["event_id"] or "") > ID_CHARACTERS:
            raise Reject("bad_event_id", f"the event id has {len(event['event_id'])} characters")
        happened_us = event["observed_at_us"]
        if happened_us is not None and not time_bounds_us[0] <= happened_us <= time_bounds_us[1]:
            raise Reject("bad_time", f"it happened at {happened_us} µs, not within {time_bounds_us}")
        return dict(event)

    def _members(self, rows: Sequence[Sequence[float]], latency_us: int) -> Iterator[list[dict[str, Any]]]:
        """Yield what each member said of each event; they were called together, so all took as long."""
        versions = self._work.versions.items()
        for row in rows:
            yield [
                {"name": name, "version": version, "score": score, "status": "ok", "latency_us": latency_us}
                for (name, version), score in zip(versions, row, strict=True)
            ]
