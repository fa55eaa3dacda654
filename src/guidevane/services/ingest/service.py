"""What ingest does to a batch: hold it to the contract, drop duplicates, hide people, stamp deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from guidevane.codec import FRAME_BYTES, header_of
from guidevane.coded import values_of
from guidevane.columns import FEWEST, Cut
from guidevane.errors import Reject
from guidevane.events import derived_id
from guidevane.log import Headers, Message, Record
from guidevane.pieces import Column, Parts, sizes, texts
from guidevane.runtime.deadletter import STAGE
from guidevane.runtime.redrive import ROOT, place_of
from guidevane.runtime.stage import REDRIVE, Stage
from guidevane.services.ingest.persons import Groups, Pseudonyms
from guidevane.services.ingest.window import Window, known_as
from guidevane.services.passing import EVENT_ID, ID_CHARACTERS, Opened, Writes
from guidevane.telemetry import names, tracing
from guidevane.writer import long

if TYPE_CHECKING:
    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.contract import Contract
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.telemetry.metrics import Metrics


_PIECE = 2 * FEWEST
"""Of a batch that cannot be read together, so many are tried: of fewer, reading together saves little."""

_Kept: TypeAlias = tuple[int, Record, Opened, dict[str, Any], Record | None]
"""An event that is accepted: its place in the batch and record, its envelope and fields, and the letter it redrives."""

_Read: TypeAlias = tuple[Cut, Mapping[str, Sequence[Any]], list[str]]
"""Many events: as the contract has them in columns, the columns that are asked for, and their ids."""

Letters = Callable[[Sequence[Record]], Awaitable[Mapping[str, Record]]]
"""Finds the dead letters that events claim to redrive, by place."""


class Ingest:
    """The handler of the ingest stage."""

    def __init__(
        self,
        pipeline: Pipeline,
        contract: Contract,
        codec: Codec,
        *,
        clock: Clock,
        metrics: Metrics,
        secret: bytes,
        window: int = 10_000,
        trace_share: float = 0.0,
        letters: Letters | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.contract = contract
        self.clock = clock
        self.metrics = metrics
        self._pseudonym = Pseudonyms(secret)
        self.window = Window(window)
        self.trace_share = trace_share
        self._letters = letters
        self._write = Writes(codec, "accepted")
        (self._named_contract,) = texts([pipeline.event.contract])
        event = pipeline.event
        self._groups = Groups(event)
        self._id, self._key, self._pii, self._time = event.id, event.key, event.pii, event.time
        wanted = (event.id, event.key, event.time, *event.protected, *event.pii)
        self._wanted = tuple(dict.fromkeys(name for name in wanted if name is not None))
        # Looked up once: each is asked for with every event.
        self._contract, self._within_us, self._time_us = event.contract, pipeline.slo.within_us, event.time_us

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return one result a record; ``None`` for a duplicate."""
        accepted: dict[str, int] = {}
        results = await self._answers(records, self.clock.now_us(), accepted)
        # Nothing is remembered before everything is answered: a batch that fails is handled again.
        self.window.add_all(accepted)
        if duplicates := results.count(None):
            self.metrics.count(names.DUPLICATES_TOTAL, duplicates)
        return results

    async def _answers(self, records: Sequence[Record], now_us: int, accepted: dict[str, int]) -> list[Result]:
        """Answer by columns what can be, and the others one by one; what is accepted comes to ``accepted``."""
        read = self._read(records)
        if read is None:
            # Somewhere is one that is to be looked at alone: with it those near it, and no others.
            if len(records) <= _PIECE or not self.contract.wrote(records[0]):
                return await self._one_by_one(records, now_us, accepted)
            found: list[Result] = []
            for at in range(0, len(records), _PIECE):
                found += await self._answers(records[at : at + _PIECE], now_us, accepted)
                await asyncio.sleep(0)
            return found
        cut, columns, ids = read
        fresh = self._fresh(ids, accepted)
        if len(fresh) == len(ids):
            accepted.update(zip(ids, (record.partition for record in records), strict=True))
            return self._together(records, cut, columns, ids, now_us)
        results: list[Result] = [None] * len(ids)
        answered = await self._answers([records[at] for at in fresh], now_us, accepted) if fresh else []
        for at, each in zip(fresh, answered, strict=True):
            results[at] = each
        return results

    async def _one_by_one(self, records: Sequence[Record], now_us: int, accepted: dict[str, int]) -> list[Result]:
        results: list[Result] = []
        kept: list[_Kept] = []
        again = [record for record in records if record.headers and record.header(REDRIVE) is not None]
        letters = await self._letters(again) if again and self._letters is not None else {}
        for position, record in enumerate(records):
            if position % 256 == 255:  # noqa: PLR2004
                # Batches can be large after a pause; the group's heartbeat shares this loop.
                await asyncio.sleep(0)
            results.append(None)
            try:
                body, places = self.contract.cut(record)
                event_id, letter = self._named(record, body, letters)
                # Who died here was never accepted: should it have been sent again meanwhile, once is enough.
                known = event_id if letter is None or _died_here(letter) else known_as(event_id, place_of(letter))
                if known in accepted or known in self.window:
                    continue
                kept.append((position, record, self._accept(record, body, places, event_id, now_us), body, letter))
            except Reject as reject:
                results[position] = reject
                continue
            accepted[known] = record.partition
        for (position, record, event, body, letter), value in zip(
            kept, self._written([each[2] for each in kept], now_us), strict=True
        ):
            headers: Headers = ((EVENT_ID, event["event_id"].encode()),)
            if record.headers or self.trace_share:
                headers = self._also(headers, record, event["event_id"], letter)
            results[position] = Message(str(body[self._key]).encode(), value, headers, event)
        return results

    def _read(self, records: Sequence[Record]) -> _Read | None:
        """Read events by columns; ``None`` for few, or where one of them is to be looked at alone."""
        cut = None if any(map(_says, records)) else self.contract.together(records)
        if cut is None:
            return None
        columns = {name: values_of(cut.columns[name]) for name in self._wanted}
        ids = self._ids(columns, records)
        return None if max(map(len, ids)) > ID_CHARACTERS else (cut, columns, ids)

    def _fresh(self, ids: Sequence[str], accepted: Mapping[str, int]) -> Sequence[int]:
        """Return the places of those that did not come before."""
        new = set(ids)
        if len(new) == len(ids) and accepted.keys().isdisjoint(new) and not self.window.knows_any(new):
            return range(len(ids))
        # Of those with one id the first one counts.
        places: dict[str, int] = {}
        for at, each in enumerate(ids):
            if each not in accepted and each not in self.window:
                places.setdefault(each, at)
        return list(places.values())

    def _together(
        self, records: Sequence[Record], cut: Cut, columns: Mapping[str, Sequence[Any]], ids: Sequence[str], now_us: int
    ) -> list[Result]:
        """Accept many events by their columns."""
        personal = {
            name: [None if value is None else self._pseudonym(value) for value in columns[name]] for name in self._pii
        }
        written = self.contract.renamed_all([record.value or b"" for record in records], personal, cut)
        happened = columns[self._time] if self._time is not None else [None] * len(records)
        times = [
            max(record.timestamp_us, 0) or now_us if time is None else time
            for record, time in zip(records, happened, strict=True)
        ]
        events: list[Opened] = [
            {
                "event_id": event_id,
                "event_time_us": time,
                "deadline_us": time + self._within_us,
                "ingested_at_us": now_us,
                "contract": self._contract,
                "event": event,
                "protected": protected,
                "envelope": None,
            }
            for event_id, time, event, protected in zip(
                ids, times, written, self._groups.of_all(columns, len(ids)), strict=True
            )
        ]
        values = self._written(events, now_us)
        keys = [str(key).encode() for key in (personal if self._key in personal else columns)[self._key]]
        headers: list[Headers] = [((EVENT_ID, event_id.encode()),) for event_id in ids]
        if self.trace_share or any(record.headers for record in records):
            headers = [self._also(*each, None) for each in zip(headers, records, ids, strict=True)]
        return [*map(Message._make, zip(keys, values, headers, events, strict=True))]

    def _ids(self, columns: Mapping[str, Sequence[Any]], records: Sequence[Record]) -> list[str]:
        """Return the events' own ids, or those of their places, where they have none."""
        own = columns[self._id] if self._id is not None else [None] * len(records)
        return [
            str(each) if each is not None and each != "" else _of_place(record)
            for each, record in zip(own, records, strict=True)
        ]

    def _named(
        self, record: Record, body: Mapping[str, Any], letters: Mapping[str, Record]
    ) -> tuple[str, Record | None]:
        """Return the event's id, and the letter that it redrives, where it really does: anybody may claim to."""
        claimed = letters.get((record.header(REDRIVE) or b"").decode(errors="replace")) if letters else None
        if claimed is not None:
            root = (record.header(ROOT) or b"").decode(errors="replace")
            event_id = self._event_id(record, body, root)
            same = (
                claimed.value == record.value if _died_here(claimed) else claimed.header(EVENT_ID) == event_id.encode()
            )
            if same and claimed.partition == record.partition:
                return event_id, claimed
        return self._event_id(record, body), None

    def _event_id(self, record: Record, body: Mapping[str, Any], root: str | None = None) -> str:
        """Return the event's own id, or one of its place: of ``root``'s, where it is sent again."""
        written = record.header(EVENT_ID) if record.headers else None
        if written:
            try:
                chosen = written.decode()
            except UnicodeDecodeError:
                # Replaced, two ids could become one, and one of two events a duplicate of the other.
                raise Reject("bad_event_id", f"header {EVENT_ID} is no UTF-8: {written!r:.60}") from None
        else:
            own = body.get(self._id) if self._id else None
            chosen = "" if own is None else str(own)
        if not chosen:
            return _of_place(record, root)
        if len(chosen) > ID_CHARACTERS:
            raise Reject("bad_event_id", f"the event id has {len(chosen)} characters, at most {ID_CHARACTERS} may be")
        return chosen

    def _accept(
        self, record: Record, body: dict[str, Any], places: tuple[int, ...] | None, event_id: str, now_us: int
    ) -> Opened:
        happened_us = self._time_us(body)
        event_time_us = happened_us if happened_us is not None else max(record.timestamp_us, 0) or now_us
        protected = self._groups.of(body)
        for name in self._pii:
            if body[name] is not None:
                body[name] = self._pseudonym(body[name])
        accepted: Opened = {
            "event_id": event_id,
            "event_time_us": event_time_us,
            "deadline_us": event_time_us + self._within_us,
            "ingested_at_us": now_us,
            "contract": self._contract,
            "event": self._event(record, body, places),
            "protected": protected,
            "envelope": None,
        }
        if _framed_alike(record, accepted["event"]):
            # Read as its contract writes: decoding it once more would give the same.
            accepted["fields"] = body
        return accepted

    def _event(self, record: Record, body: dict[str, Any], places: tuple[int, ...] | None) -> bytes:
        if places is not None and record.value is not None:
            return self.contract.renamed(record.value, body, places)
        try:
            return self.contract.encode(body)
        except (ValueError, TypeError, LookupError, OverflowError) as unfit:
            # Deep inside, decoders are laxer than encoders: a long where the schema says int is read, not written.
            says = f"the event cannot be written by its own contract: {unfit!s:.120}"
            raise Reject("out_of_range", says) from unfit

    def _written(self, accepted: Sequence[Opened], now_us: int) -> list[bytes]:
        """Return the values of a batch; its events have their envelopes from then on."""

        def columns(named: list[bytes], due: list[bytes], protected: list[bytes]) -> Mapping[str, Column | Parts]:
            for event, envelope in zip(accepted, zip(named, due, protected, strict=True), strict=True):
                event["envelope"] = envelope
            events = [event["event"] for event in accepted]
            return {
                "event_id": named,
                "event_time_us": b"",
                "deadline_us": due,
                "ingested_at_us": long(now_us),
                "contract": self._named_contract,
                "event": (sizes(events), events),
                "protected": protected,
            }

        return self._write(accepted, columns, lambda: accepted)

    def _also(self, headers: Headers, record: Record, event_id: str, letter: Record | None) -> Headers:
        """Return headers with the trace that an event belongs to, and the letter that it redrives."""
        trace = tracing.parse(record.header(tracing.HEADER)) if record.headers else None
        if trace is None and self.trace_share and tracing.sample(event_id, self.trace_share):
            trace = tracing.trace_of(event_id)
        if trace is not None:
            headers = (*headers, trace.header)
        return headers if letter is None else (*headers, (REDRIVE, place_of(letter).encode()))


def _says(record: Record) -> bool:
    """Tell whether a record's headers name its event, or the letter that it redrives."""
    return any(name in {EVENT_ID, REDRIVE} for name, _ in record.headers)


def _of_place(record: Record, root: str | None = None) -> str:
    """Return an id of where a record stands, or where the first of those stood that it redrives (``root``)."""
    place = place_of(record) if root is None else root
    return derived_id(record.topic, *place.partition("/")[::2])


def _framed_alike(record: Record, written: bytes) -> bool:
    """Tell whether a record's value was written by the very schema that ``written`` was."""
    value = record.value
    return (
        value is not None
        and value[:FRAME_BYTES] == written[:FRAME_BYTES]
        and (not record.headers or header_of(record.headers) is None)
    )


def _died_here(letter: Record) -> bool:
    return letter.header(STAGE) == b"ingest"


def ingest_stage(ingest: Ingest) -> Stage:
    """Return the stage: events in, accepted out."""
    topics = ingest.pipeline.topics
    return Stage(
        name="ingest",
        input=topics.events,
        output=topics.accepted,
        handle=ingest,
        first=True,
        recall=ingest.window.recall,
        recall_records=ingest.window.size,
    )
