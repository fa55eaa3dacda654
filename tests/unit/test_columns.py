"""Columns of many values are what is picked from each of them, or are left to that."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from fastavro import parse_schema
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import decision
from tests.unit.test_reader import told
from tests.unit.test_writer import by_fastavro, record, values

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.coded import Coded
from guidevane.columns import FEWEST, MOST_BYTES, Columns
from guidevane.picker import picker
from guidevane.pipelines.employment import pipeline
from guidevane.reader import GIVEN_UP
from guidevane.schema import Schema, make

VERSIONS = {"type": "map", "values": "string"}
SYMBOLS = {"type": "enum", "name": "e", "symbols": ["a", "b"]}
PLAIN = ("boolean", "int", "long", "float", "double", "string", "bytes", ["null", "long"], ["string", "null", "double"])
KINDS = st.lists(st.sampled_from([*PLAIN, "int", "int", SYMBOLS, VERSIONS]), min_size=1, max_size=7).filter(
    lambda kinds: kinds.count(SYMBOLS) < 2
)
SOMETIMES = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def schema_of(kinds) -> Schema:
    return make("r", 1, record("r", kinds))


def frame(schema: Schema) -> bytes:
    return b"\0" + schema.id.to_bytes(4, "big")


def many(written: list[bytes]) -> list[bytes]:
    """Return them again and again, so many that their columns are read."""
    return (written * FEWEST)[: max(FEWEST, len(written))]


def rows(columns, names):
    """Return what stands in columns, value by value."""
    listed = [column if isinstance(column, list) else column.tolist() for column in map(columns.get, names)]
    return list(zip(*listed, strict=True))


def picked(schema: Schema, names, written):
    pick = picker(schema.parsed, names)
    return [pick(value, 5) for value in written]


@SOMETIMES
@given(st.data())
def test_the_columns_of_any_values_are_what_is_picked_from_each(data):
    schema = schema_of(data.draw(KINDS))
    names = data.draw(st.lists(st.sampled_from([f["name"] for f in schema.parsed["fields"]]), min_size=1, unique=True))
    written = []
    for _ in range(data.draw(st.integers(1, 6))):
        # Not every drawn body fits.
        with suppress(Exception):
            written.append(frame(schema) + by_fastavro(schema.parsed, data.draw(values(schema.parsed))))
    assume(written)

    columns = Columns(schema, names)(many(written))

    if columns is not None:
        assert told(rows(columns, names)) == told(picked(schema, names, many(written)))


@SOMETIMES
@given(st.data())
def test_given_any_bytes_among_others_the_columns_are_left_to_whoever_picks_or_are_the_same(data):
    schema = schema_of(data.draw(KINDS))
    names = [data.draw(st.sampled_from(schema.parsed["fields"]))["name"]]
    hostile = [frame(schema) + data.draw(st.binary(max_size=24)) for _ in range(data.draw(st.integers(1, 3)))]

    columns = Columns(schema, names)(many(hostile))

    try:
        expected = picked(schema, names, many(hostile))
    except GIVEN_UP:
        assert columns is None
    else:
        assert columns is None or told(rows(columns, names)) == told(expected)


@pytest.mark.parametrize(
    "numbers", [[0, 1, 63], [0, -1, 63], [64, 1, 2], [-64, 63, 8191], [1 << 54, -(1 << 61), 1 << 55]]
)
def test_numbers_of_any_length_side_by_side_are_read_as_they_are_picked(numbers):
    schema = schema_of(["long"] * 3)
    written = [
        frame(schema) + by_fastavro(schema.parsed, dict(zip(["f0", "f1", "f2"], each, strict=True)))
        for each in (numbers, numbers[::-1], [0, 0, 0])
    ]

    for names in (["f0", "f1", "f2"], ["f2"], ["f1"]):
        columns = Columns(schema, names)(many(written))

        assert columns is not None
        assert rows(columns, names) == picked(schema, names, many(written))


def test_numbers_are_arrays_and_what_is_shared_between_values_is_coded():
    schema = schema_of(["int", ["null", "double"], "boolean", SYMBOLS, "string", VERSIONS])
    body = {"f0": 1, "f1": 0.5, "f2": True, "f3": "b", "f4": "text", "f5": {"wide": "1"}}
    names = [f"f{at}" for at in range(6)]

    columns = Columns(schema, names)(many([frame(schema) + by_fastavro(schema.parsed, body)]))

    assert [columns[name].dtype for name in names[:3]] == [np.int64, np.float64, np.bool_]
    assert isinstance(columns["f3"], Coded)
    assert isinstance(columns["f4"], list)
    assert columns["f5"].values == ({"wide": "1"},)


def test_given_values_of_several_kinds_in_one_field_each_keeps_its_own():
    schema = schema_of([["null", "long", "string", "double"], "int"])
    bodies = [{"f0": value, "f1": at} for at, value in enumerate([None, 7, "text", 0.5, 1 << 50])]
    written = many([frame(schema) + by_fastavro(schema.parsed, body) for body in bodies])

    columns = Columns(schema, ["f0", "f1"])(written)

    assert told(rows(columns, ["f0", "f1"])[:5]) == told([(None, 0), (7, 1), ("text", 2), (0.5, 3), (1 << 50, 4)])


@pytest.mark.parametrize("wrong", [None, b"", b"{}", "cut", "longer", "another frame"])
def test_given_one_value_among_many_that_is_not_right_all_are_left_to_whoever_picks(wrong):
    codec = Codec(Catalogue())
    value = codec.encode("decision", decision("e1"))
    columns = Columns(codec.catalogue.latest("decision"), ("event_id", "models", "protected"))
    wrong = {"cut": value[:-9], "longer": value + b"\0", "another frame": b"\0\0\0\0\1" + value[5:]}.get(wrong, wrong)

    assert rows(columns(many([value])), ["event_id"]) == [("e1",)] * FEWEST
    assert columns([*many([value]), wrong]) is None
    assert columns([wrong, *many([value])]) is None
    assert columns([value] * (FEWEST - 1)) is None


def test_fields_of_events_are_read_where_they_stand_in_what_was_accepted():
    codec, fields = Codec(Catalogue([pipeline.event])), ("age", "schooling", "person_id")
    kinds = {name: pipeline.event.kinds(name) for name in pipeline.event.fields}

    def accepted(at: int) -> bytes:
        body = {name: f"text {at}" if kind == {"string"} else at for name, kind in kinds.items()}
        times = dict.fromkeys(("event_time_us", "deadline_us", "ingested_at_us"), 1_700_000_000_000_000 + at)
        event = codec.encode(pipeline.event.name, body)
        return codec.encode(
            "accepted", {"event_id": f"e{at}", **times, "contract": "c", "event": event, "protected": {"sex": "F"}}
        )

    latest = codec.catalogue.latest
    columns = Columns(latest(pipeline.event.name), fields, within=(latest("accepted"), "event"))
    written = [accepted(at) for at in range(300)]

    assert rows(columns(written), fields) == [(at, at, f"text {at}") for at in range(300)]
    assert columns([*written, written[0][:-60]]) is None
    # What stands behind the event in what was accepted, nobody looks at.
    assert columns([*written, written[0][:-1]]) is not None


def test_a_type_that_is_not_read_by_columns_is_left_to_whoever_picks():
    schema = schema_of(["int", {"type": "array", "items": "int"}, "int"])
    value = frame(schema) + by_fastavro(parse_schema(schema.parsed), {"f0": 1, "f1": [1], "f2": 3})

    assert Columns(schema, ["f2"])(many([value])) is None
    assert rows(Columns(schema, ["f0"])(many([value])), ["f0"])[0] == (1,)


@SOMETIMES
@given(st.data())
def test_what_is_cut_lies_where_it_is_said_to_lie(data):
    schema = schema_of(data.draw(KINDS))
    fields = [field["name"] for field in schema.parsed["fields"]]
    names = data.draw(st.lists(st.sampled_from(fields), min_size=1, unique=True))
    last = max(fields.index(name) for name in names)
    # Maps that end a record are looked up as a whole, and not cut.
    plain = [at for at in range(last + 1) if schema.parsed["fields"][at]["type"] != VERSIONS]
    assume(plain)
    begin = data.draw(st.sampled_from(plain))
    end = data.draw(st.sampled_from([at for at in plain if at >= begin]))
    written, bodies = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        with suppress(Exception):
            body = data.draw(values(schema.parsed))
            written.append(frame(schema) + by_fastavro(schema.parsed, body))
            bodies.append(body)
    assume(written)

    found = Columns(schema, names, cut=[(fields[begin], fields[end])]).cut(many(written))

    assume(found is not None)
    ((begins, ends),) = found.places

    def size(body, until: int) -> int:
        """Return how many bytes the first fields take."""
        some = {**schema.parsed, "name": "some", "fields": schema.parsed["fields"][:until]}
        return 5 + len(by_fastavro(some, body))

    for body, *places in zip(many(bodies), begins, ends, found.end.tolist(), strict=True):
        assert places[:2] == [size(body, begin), size(body, end + 1)]
        if VERSIONS not in [schema.parsed["fields"][at]["type"] for at in range(last + 1)]:
            assert places[2] == size(body, last + 1)


def test_megabytes_are_read_one_by_one():
    schema = schema_of(["string"])
    small, large = (frame(schema) + by_fastavro(schema.parsed, {"f0": "x" * size}) for size in (9, MOST_BYTES))
    columns = Columns(schema, ["f0"])
    assert columns(many([small])) is not None
    assert columns([*many([small]), large]) is None
