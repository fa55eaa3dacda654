"""What ingest does to a batch: hold it to the contract, drop duplicates, hide people, stamp deadlines."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guidevane.errors import Reject
from guidevane.events import Accepted, derived_id
from guidevane.log import Headers, Message, Record
from guidevane.runtime.stage import Stage
from guidevane.services.passing import EVENT_ID
from guidevane.telemetry import names, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.contract import Contract
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.telemetry.metrics import Metrics

_ID_CHARACTERS = 256


@dataclass(slots=True)
class Window:
    """The event ids that were accepted last, ``size`` a partition: what is in it again is a duplicate.

    An id counts wherever it comes again: who sends twice without a key sends to two partitions.

    >>> window = Window(2)
    >>> for event_id in ("a", "b", "c"):
    ...     window.add(0, event_id)
    >>> "a" in window, "c" in window
    (False, True)
    """

    size: int
    ids: dict[int, OrderedDict[str, None]] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self.holders

    def add(self, partition: int, event_id: str) -> None:
        """Remember an id; the oldest of its partition goes where there are too many."""
        ids = self.ids.setdefault(partition, OrderedDict())
        ids[event_id] = None
        self.holders[event_id] = partition
        if len(ids) > self.size:
            self._forget(partition, ids.popitem(last=False)[0])

    def recall(self, partition: int, outputs: Sequence[Record]) -> None:
        """Start a partition over with what the accepted topic says was accepted last."""
        for event_id in self.ids.pop(partition, ()):
            self._forget(partition, event_id)
        for record in outputs:
            written = record.header(EVENT_ID)
            if written is not None:
                self.add(partition, written.decode(errors="replace"))

    def _forget(self, partition: int, event_id: str) -> None:
        if self.holders.get(event_id) == partition:
            del self.holders[event_id]


def pseudonym(secret: bytes, value: object) -> str:
    """Return the same 128-bit name for the same value and secret: HMAC-SHA-256, in hex.

    >>> pseudonym(b"k" * 32, 17) == pseudonym(b"k" * 32, "17")
    True
    """
    return hmac.digest(secret, str(value).encode(), hashlib.sha256)[:16].hex()


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
    ) -> None:
        self.pipeline = pipeline
        self.contract = contract
        self.clock = clock
        self.metrics = metrics
        self.secret = secret
        self.window = Window(window)
        self.trace_share = trace_share
        self._encode: Callable[[Mapping[str, Any]], bytes] = codec.encoder("accepted")
        self._encode_event: Callable[[Mapping[str, Any]], bytes] = codec.encoder(
            pipeline.event.name, version=pipeline.event.version
        )
        event = pipeline.event
        self._id, self._key = event.id, event.key
        self._pii, self._protected = event.pii, event.protected

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return one result a record; ``None`` for a duplicate."""
        now_us = self.clock.now_us()
        accepted: dict[str, int] = {}
        results: list[Result] = []
        for position, record in enumerate(records):
            if position % 256 == 255:  # noqa: PLR2004
                # Batches can be large after a pause; the group's heartbeat shares this loop.
                await asyncio.sleep(0)
            try:
                body = self.contract.read(record)
                event_id = self._event_id(record, body)
            except Reject as reject:
                results.append(reject)
                continue
            if event_id in accepted or event_id in self.window:
                results.append(None)
                continue
            accepted[event_id] = record.partition
            results.append(self._accept(record, body, event_id, now_us))
        # Nothing is remembered before everything is answered: a batch that fails is handled again.
        for event_id, partition in accepted.items():
            self.window.add(partition, event_id)
        if duplicates := results.count(None):
            self.metrics.count(names.DUPLICATES_TOTAL, duplicates)
        return results

    def _event_id(self, record: Record, body: Mapping[str, Any]) -> str:
        written = record.header(EVENT_ID)
        chosen = written.decode(errors="replace") if written else body.get(self._id) if self._id else None
        if not chosen:
            return derived_id(record.topic, str(record.partition), str(record.offset))
        if len(chosen) > _ID_CHARACTERS:
            raise Reject("bad_event_id", f"the event id has {len(chosen)} characters, at most {_ID_CHARACTERS} may be")
        return str(chosen)

    def _accept(self, record: Record, body: dict[str, Any], event_id: str, now_us: int) -> Message:
        happened_us = self.pipeline.event.time_us(body)
        event_time_us = happened_us if happened_us is not None else record.timestamp_us or now_us
        protected = {name: str(body[name]) for name in self._protected if body.get(name) is not None}
        for name in self._pii:
            if body.get(name) is not None:
                body[name] = pseudonym(self.secret, body[name])
        accepted: Accepted = {
            "event_id": event_id,
            "event_time_us": event_time_us,
            "deadline_us": event_time_us + self.pipeline.slo.within_us,
            "ingested_at_us": now_us,
            "contract": self.pipeline.event.contract,
            "event": self._encode_event(body),
            "protected": protected,
        }
        headers: Headers = ((EVENT_ID, event_id.encode()),)
        trace = tracing.parse(record.header(tracing.HEADER))
        if trace is None and self.trace_share and tracing.sample(event_id, self.trace_share):
            trace = tracing.trace_of(event_id)
        if trace is not None:
            headers = (*headers, trace.header)
        return Message(str(body[self._key]).encode(), self._encode(accepted), headers, accepted)


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
