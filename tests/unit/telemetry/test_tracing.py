"""Given trace context in headers, when a stage reads it, then only what is valid and sampled costs anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from guidevane.log import Record
from guidevane.telemetry.tracing import (
    HEADER,
    BatchTracer,
    NoTracer,
    is_sampled,
    links_of,
    parse,
    sample,
    trace_of,
    tracer_for,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-03",
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-brings",
    ],
)
def test_given_a_valid_header_as_text_or_bytes_then_it_is_read(value: str) -> None:
    for each in (value, value.encode()):
        found = parse(each)
        assert found is not None
        assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f" 00-{TRACE}-{SPAN}-01",
        None,
    ],
)
def test_given_an_invalid_header_then_there_is_none(value: str | None) -> None:
    assert parse(value) is None
    assert value is None or parse(value.encode()) is None


@given(st.binary(max_size=80))
def test_given_any_bytes_then_reading_them_never_raises_and_the_one_byte_agrees(value: bytes) -> None:
    found = parse(value)

    assert found is None or is_sampled(value) == found.sampled


@given(st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,3})?\Z"))
def test_given_a_header_that_looks_right_then_we_read_what_opentelemetry_reads(value: str) -> None:
    context = TraceContextTextMapPropagator().extract({HEADER: value})
    found = parse(value)

    assert (found is not None) == bool(context)
    assert found is None or is_sampled(value.encode()) == found.sampled


@given(st.text(min_size=1, max_size=30))
def test_given_an_event_id_then_its_trace_is_the_same_each_time_and_children_stay_in_it(event_id: str) -> None:
    root = trace_of(event_id)

    assert root == trace_of(event_id) == parse(str(root))
    assert root.child("inference").trace_id == root.trace_id
    assert root.child("inference").span_id != root.span_id
    assert parse(root.child("inference").header[1]) == root.child("inference")


def test_given_a_share_then_about_that_many_are_sampled_and_a_larger_share_keeps_them() -> None:
    ids = [f"e{number}" for number in range(20_000)]
    tenth = {each for each in ids if sample(each, 0.1)}
    half = {each for each in ids if sample(each, 0.5)}

    assert 0.09 < len(tenth) / len(ids) < 0.11
    assert tenth < half


def test_given_a_batch_with_sampled_events_when_told_afterwards_then_there_is_one_span_with_their_links() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = BatchTracer(provider)
    a, b = trace_of("a"), trace_of("b")
    unsampled = f"00-{TRACE}-{SPAN}-00".encode()
    headers = [(), (a.header,), ((HEADER, unsampled),), (b.header,), ((HEADER, b"junk" * 20),)]
    records = [Record("t", 0, offset, None, b"", each) for offset, each in enumerate(headers)]

    tracer.batch("inference", links_of(records), start_us=1_000_000, end_us=1_250_000, size=5)
    tracer.batch("inference", links_of(records[:1]), start_us=1, end_us=2, size=1)

    (span,) = exporter.get_finished_spans()
    assert (span.name, span.end_time - span.start_time) == ("inference", 250_000_000)
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [a.trace_id, b.trace_id]
    assert f"{span.context.trace_id:032x}" == a.trace_id


def test_given_no_endpoint_then_tracing_does_nothing() -> None:
    assert isinstance(tracer_for("employment", "inference", "0", {}), NoTracer)
