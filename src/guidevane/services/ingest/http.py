"""The HTTP door: events for producers without a Kafka client, checked against the contract while they wait."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import pydantic
from fastapi import FastAPI, Header, Path, Query, Request

from guidevane.access import Guard
from guidevane.contract import Contract
from guidevane.errors import Reject, Retryable, TooLarge
from guidevane.log import Message, Record
from guidevane.log.murmur import murmur2
from guidevane.problem import RESPONSES, Refused, speak_problems
from guidevane.repeated import repeated_key
from guidevane.services.passing import ID_CHARACTERS
from guidevane.telemetry.tracing import HEADER as TRACEPARENT
from guidevane.telemetry.tracing import parse
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.log import Headers, Producer
    from guidevane.pipeline import Pipeline

MAX_BODY_BYTES = 1 << 20
MAX_EVENTS = 5_000
MAX_REQUESTS = 64
_LONGEST_ID = 200
_JSON: Headers = (("content-type", b"application/json"),)
_ONE_JSON = frozenset({"application/json"})
_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_AVRO = frozenset({"application/octet-stream", "avro/binary", "application/avro"})

Id = Annotated[str | None, Header(min_length=1, max_length=_LONGEST_ID, pattern=r"^[\x21-\x7e]+$")]


class Rejection(pydantic.BaseModel):
    """Why one event of a request breaks the contract."""

    index: int = pydantic.Field(description="Its place in the request, from 0.")
    cause: str = pydantic.Field(description="A short stable name of the reason.")
    message: str = pydantic.Field(description="The reason in words, with the field and the value.")


class Receipt(pydantic.BaseModel):
    """What Kafka has acknowledged: these events will get exactly one outcome each."""

    pipeline: str
    accepted: int = pydantic.Field(description="How many events were taken.")
    event_ids: list[str] = pydantic.Field(description="Their ids, in the order of the request.")
    partitions: list[int] = pydantic.Field(description="The partition of `<pipeline>.events` that holds each.")
    rejected: list[Rejection] = pydantic.Field(
        default_factory=list, description="With `?partial=true`: the events that were not taken."
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """What the door knows of one pipeline: the topic to write to, and the contract to hold events to."""

    topic: str
    partitions: int
    contract: Contract

    @classmethod
    def of(cls, pipeline: Pipeline, codec: Codec) -> Entry:
        """Return the entry of a pipeline."""
        return cls(pipeline.topics.events, pipeline.partitions, Contract(pipeline.event, codec))

    def id_of(self, event: Mapping[str, Any]) -> str | None:
        """Return the id that an event brings, in its contract's id field or in ``event_id``."""
        own = event.get(self.contract.event.id or "event_id")
        return None if own is None else str(own) or None

    def key_of(self, event: Mapping[str, Any]) -> bytes:
        """Return the Kafka key of an event."""
        key = event[self.contract.event.key]
        return key if isinstance(key, bytes) else str(key).encode()


@dataclass(frozen=True, slots=True)
class _Admitted:
    index: int
    event_id: str
    partition: int
    message: Message


def door(
    entries: Mapping[str, Entry],
    *,
    producer: Producer,
    clock: Clock,
    token: str | None = None,
    ack_timeout_s: float = 5.0,
    body_timeout_s: float = 10.0,
) -> FastAPI:
    """Return the app: ``POST /v1/pipelines/{pipeline}/events``, for the pipelines in ``entries`` by name.

    It answers 202 only after Kafka has acknowledged every event. What breaks the contract is told at
    once (422) and not produced. Without a ``token`` it serves this machine only.
    """
    app = FastAPI(title="Guidevane ingest", summary=__doc__, responses=RESPONSES, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, token=token, max_body_bytes=MAX_BODY_BYTES)
    speak_problems(app)
    busy = asyncio.BoundedSemaphore(MAX_REQUESTS)

    @app.post(
        "/v1/pipelines/{pipeline}/events",
        status_code=202,
        summary="Send events to a pipeline",
        openapi_extra={"requestBody": _request_body()},
    )
    async def accept(
        request: Request,
        pipeline: Annotated[str, Path(description="The pipeline's name.")],
        *,
        partial: Annotated[bool, Query(description="Take the valid events of a batch and list the others.")] = False,
        x_event_id: Id = None,
        idempotency_key: Id = None,
    ) -> Receipt:
        """Send one event (JSON object, or Avro with Confluent framing) or many (JSON array, or one a line).

        An event's id is its own id field, else `X-Event-Id` (one event only), else derived from
        `Idempotency-Key`, else drawn and returned. **A client that may try again should send ids of its own:**
        the same id gets one outcome, however often it is sent; a drawn id is new each time.

        A batch is all or nothing while its events are checked: one that breaks the contract and nothing is sent.
        With `partial=true` the valid ones are sent (202) and the others listed under `rejected`; 422 where none is
        valid. Answers 503 with `Retry-After` where Kafka does not acknowledge in time: the events may or may not
        be there, and `event_ids` lists the ids under which to send them again.
        """
        entry = entries.get(pipeline)
        if entry is None:
            known = sorted(entries)
            advice = nearest(pipeline, known)
            raise Refused(404, "unknown-pipeline", f"there is no pipeline {pipeline[:60]!r}: {advice}", known=known)
        # A client that sends slowly, or not at all, keeps nobody waiting but itself.
        body = await _body(request, body_timeout_s)
        if busy.locked():
            raise _later(f"{MAX_REQUESTS} requests are waiting for Kafka already")
        async with busy:
            values, headers = _split(body, request.headers.get("content-type", ""))
            if x_event_id is not None and len(values) > 1:
                raise Refused(400, "ambiguous-id", f"X-Event-Id names one event, the body holds {len(values)}")
            headers += _trace(request.headers.get(TRACEPARENT))
            naming = _Naming(x_event_id, idempotency_key, alone=len(values) == 1)
            admitted, rejected = _check(entry, values, headers, naming, clock.now_us())
            if rejected and not (partial and admitted):
                raise _broken(entry, rejected, of=len(values))
            partitions = await _send(entry.topic, admitted, producer, ack_timeout_s)
        ids = [each.event_id for each in admitted]
        return Receipt(
            pipeline=pipeline, accepted=len(ids), event_ids=ids, partitions=partitions, rejected=list(rejected)
        )

    return app


@dataclass(frozen=True, slots=True)
class _Naming:
    """How events that bring no id of their own are named."""

    header: str | None
    idempotency_key: str | None
    alone: bool

    def name(self, index: int) -> str:
        if self.header is not None:
            return self.header
        if self.idempotency_key is not None:
            # Repeating the request repeats the ids, as long as it repeats the order.
            return self.idempotency_key if self.alone else f"{self.idempotency_key}/{index}"
        return str(uuid.uuid4())


async def _body(request: Request, timeout_s: float) -> bytes:
    try:
        async with asyncio.timeout(timeout_s):
            return await request.body()
    except TimeoutError as slow:
        raise Refused(408, "body-too-slow", f"the body was not here within {timeout_s:g} s: nothing was sent") from slow


def _split(body: bytes, content_type: str) -> tuple[list[bytes], Headers]:
    """Return the events of a body, each as the bytes that go to Kafka, and the headers that belong to them."""
    media = content_type.partition(";")[0].strip().lower()
    headers: Headers = _JSON
    if media in _LINES:
        values = [line for line in body.split(b"\n") if line.strip()]
    elif media in _ONE_JSON:
        values = _array(body)
    elif media in _AVRO:
        values, headers = [body] if body else [], ()
    else:
        known = sorted(_ONE_JSON | _LINES | _AVRO)
        raise Refused(415, "unsupported-media-type", f"{content_type[:60]!r} is not read here", known=known)
    if not values:
        raise Refused(422, "no-events", "the body holds no event")
    if len(values) > MAX_EVENTS:
        raise Refused(413, "too-many-events", f"{len(values)} events: send {MAX_EVENTS} or fewer at once")
    return values, headers


def _array(body: bytes) -> list[bytes]:
    try:
        parsed: Any = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise Refused(400, "malformed-json", f"the body is not JSON: {wrong}") from wrong
    # One event keeps the bytes in which it was sent; only an array has to be taken apart.
    if not isinstance(parsed, list):
        return [body]
    if (name := repeated_key(body, parsed)) is not None:
        # Taken apart, one of the two would be gone, and nobody could tell which was meant.
        raise Refused(422, "repeated-key", f"an object of the array has the key {name!r:.60} twice; nothing was sent")
    return [orjson.dumps(item) for item in parsed]


def _trace(traceparent: str | None) -> Headers:
    # What a stranger sends goes on only where it is whole.
    if traceparent is None or parse(traceparent) is None:
        return ()
    return ((TRACEPARENT, traceparent.encode()),)


def _check(
    entry: Entry, values: Iterable[bytes], headers: Headers, naming: _Naming, now_us: int
) -> tuple[list[_Admitted], list[Rejection]]:
    admitted, rejected = [], []
    for index, value in enumerate(values):
        try:
            event = entry.contract.read(Record(entry.topic, -1, -1, None, value, headers, now_us))
        except Reject as broken:
            rejected.append(Rejection(index=index, cause=broken.cause, message=str(broken)))
            continue
        event_id = entry.id_of(event) or naming.name(index)
        if len(event_id) > ID_CHARACTERS:
            says = f"the event id has {len(event_id)} characters, at most {ID_CHARACTERS} may be"
            rejected.append(Rejection(index=index, cause="bad_event_id", message=says))
            continue
        key = entry.key_of(event)
        message = Message(key, value, (*headers, ("event_id", event_id.encode())))
        admitted.append(_Admitted(index, event_id, (murmur2(key) & 0x7FFFFFFF) % entry.partitions, message))
    return admitted, rejected


def _broken(entry: Entry, rejected: Sequence[Rejection], *, of: int) -> Refused:
    first = rejected[0]
    return Refused(
        422,
        "contract-violation",
        f"{len(rejected)} of {of} events break the contract of {entry.topic}; nothing was sent. "
        f"First, event {first.index}: {first.message}",
        rejected=[each.model_dump() for each in rejected],
    )


async def _send(topic: str, admitted: Sequence[_Admitted], producer: Producer, timeout_s: float) -> list[int]:
    """Return each event's partition once all are acknowledged; each partition's events keep their order."""
    lanes: dict[int, list[_Admitted]] = defaultdict(list)
    for each in admitted:
        lanes[each.partition].append(each)
    acknowledged: list[int] = []

    async def send(partition: int, lane: Sequence[_Admitted]) -> None:
        await producer.send(topic, partition, [each.message for each in lane])
        acknowledged.extend(each.index for each in lane)

    try:
        async with asyncio.timeout(timeout_s):
            # All lanes end before the first error is told, so that the answer knows what was acknowledged.
            ends = await asyncio.gather(*(send(*lane) for lane in lanes.items()), return_exceptions=True)
        for error in ends:
            if error is not None:
                raise error
    except TooLarge as large:
        raise Refused(413, "event-too-large", str(large)) from large
    except (Retryable, TimeoutError) as late:
        raise _later(
            f"Kafka acknowledged {len(acknowledged)} of {len(admitted)} events in {timeout_s:g} s; "
            "the others may or may not be there: send them again under their event_ids",
            event_ids=[each.event_id for each in admitted],
            acknowledged=sorted(acknowledged),
        ) from late
    except Reject as large:
        raise Refused(413, "event-too-large", str(large)) from large
    return [each.partition for each in admitted]


def _later(detail: str, **more: object) -> Refused:
    return Refused(503, "not-acknowledged", detail, headers={"Retry-After": "1"}, **more)


def _request_body() -> dict[str, Any]:
    one = {"type": "object", "description": "One event, as the pipeline's contract has it."}
    content: dict[str, Any] = {"application/json": {"schema": {"oneOf": [one, {"type": "array", "items": one}]}}}
    content["application/x-ndjson"] = {"schema": {"type": "string", "description": "One JSON event a line."}}
    for media in ("application/octet-stream", "avro/binary"):
        content[media] = {"schema": {"type": "string", "format": "binary", "description": "Avro, Confluent framing."}}
    return {"required": True, "content": content}
