"""One trace from producer to decision: W3C trace context in record headers, by our own hand.

Ids are derived, never drawn, so that a replay writes the same bytes. Only sampled events carry
the header at all; who handles a batch looks at one byte of it (:func:`is_sampled`) before anything
else, for a span an event costs 30-56 µs and a batch has one, with links to its sampled events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import TracerProvider

    from guidevane.log import Record

HEADER: Final = "traceparent"
_VERSION_00: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LATER: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL)
_FLAGS_AT: Final = 53
_LENGTH: Final = 55
_ODD: Final = frozenset(b"13579bdf")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """Where in which trace something happened: W3C Trace Context, level 1."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    @property
    def header(self) -> tuple[str, bytes]:
        """Return the record header that carries this on."""
        return HEADER, str(self).encode()

    def child(self, name: str) -> TraceParent:
        """Return the next step of the same trace; the same name gives the same step.

        >>> root = trace_of("e1")
        >>> root.child("inference").trace_id == root.trace_id, root.child("inference") == root.child("inference")
        (True, True)
        """
        return TraceParent(self.trace_id, _hex(f"{self.trace_id}{self.span_id}{name}", 8), self.sampled)


def parse(value: bytes | str | None) -> TraceParent | None:
    """Read a ``traceparent`` header; ``None`` for whatever the recommendation calls invalid, and for no header.

    >>> parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").sampled
    True
    >>> parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01") is None
    True
    """
    if value is None:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    found = _VERSION_00.fullmatch(text) if text.startswith("00") else _LATER.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(trace_id, span_id, sampled=bool(int(flags, 16) & 1))


def is_sampled(value: bytes | None) -> bool:
    """Tell from one byte whether a header is worth parsing; a malformed one may pass, ``parse`` finds out.

    >>> is_sampled(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), is_sampled(None)
    (False, False)
    """
    return value is not None and len(value) >= _LENGTH and value[_FLAGS_AT + 1] in _ODD


def sample(event_id: str, share: float) -> bool:
    """Decide for a ``share`` (0-1) of all events; the same event is always decided alike, wherever it is asked.

    >>> sample("e1", 1.0), sample("e1", 0.0)
    (True, False)
    """
    return int.from_bytes(blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=7).digest()) < share * 2**56


def trace_of(event_id: str) -> TraceParent:
    """Return the root of one event's trace, derived from its id: sampled, for others carry no header.

    >>> str(trace_of("e1")) == str(trace_of("e1")), len(str(trace_of("e1")))
    (True, 55)
    """
    return TraceParent(_hex(f"trace{event_id}", 16), _hex(f"span{event_id}", 8))


def links_of(records: Sequence[Record]) -> list[TraceParent]:
    """Return the trace context of the sampled records of a batch."""
    found = (parse(header) for record in records if is_sampled(header := record.header(HEADER)))
    return [each for each in found if each is not None and each.sampled]


def _hex(text: str, size: int) -> str:
    # An id of zeros is invalid; 1 in 2^64 of them would be.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
    return digest if digest.strip("0") else "1".zfill(2 * size)


class Tracer(Protocol):
    """Told of each batch afterwards. Where ``enabled`` is false, callers need not gather the links."""

    enabled: bool

    def batch(self, name: str, links: Sequence[TraceParent], *, start_us: int, end_us: int, size: int) -> None:
        """Record that ``size`` events were handled together; without links, nothing is recorded."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class NoTracer:
    """Records nothing, at no cost."""

    enabled = False

    def batch(self, name: str, links: Sequence[TraceParent], *, start_us: int, end_us: int, size: int) -> None:
        """Record nothing."""

    def close(self) -> None:
        """Do nothing."""


class BatchTracer:
    """One span a batch through OpenTelemetry, with a link to each sampled event in it."""

    enabled = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("guidevane")

    def batch(self, name: str, links: Sequence[TraceParent], *, start_us: int, end_us: int, size: int) -> None:
        """Record one span, in the trace of the first sampled event; a batch without any has none."""
        if not links:
            return
        from opentelemetry import trace  # noqa: PLC0415 - rooms that trace nothing need not have it

        contexts = [
            trace.SpanContext(
                int(each.trace_id, 16),
                int(each.span_id, 16),
                is_remote=True,
                trace_flags=trace.TraceFlags(each.sampled),
            )
            for each in links
        ]
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(trace.NonRecordingSpan(contexts[0])),
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(each) for each in contexts],
            attributes={"messaging.batch.message_count": size, "messaging.system": "kafka"},
            start_time=start_us * 1000,
        )
        span.end(end_us * 1000)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def tracer_for(pipeline: str, room: str, instance: str, environ: Mapping[str, str]) -> Tracer:
    """Return a tracer that sends to ``OTEL_EXPORTER_OTLP_ENDPOINT``; where that is not set, one that does nothing."""
    from guidevane.telemetry.exposition import ENDPOINT, resource_of  # noqa: PLC0415 - brings OpenTelemetry

    if not environ.get(ENDPOINT):
        return NoTracer()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=resource_of(pipeline, room, instance), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return BatchTracer(provider)
