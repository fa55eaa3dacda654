"""What is picked from a record is what reading all of it gives, or is left to fastavro."""

import pytest
from fastavro import parse_schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import decision
from tests.unit.test_reader import RECORDS, fastavro_reads, told
from tests.unit.test_writer import by_fastavro, record, values

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.errors import Reject
from guidevane.picker import REMEMBERED, picker
from guidevane.pipelines.employment import pipeline
from guidevane.reader import GIVEN_UP

VERSIONS = {"type": "map", "values": "string"}


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_what_is_picked_is_what_fastavro_reads_of_these_fields(data):
    schema = data.draw(RECORDS)
    names = data.draw(st.lists(st.sampled_from([f["name"] for f in schema["fields"]]), min_size=1, unique=True))
    pick = picker(schema, names)
    body = data.draw(values(schema))
    assume(pick is not None)
    try:
        written = by_fastavro(schema, body)
    except Exception:  # noqa: BLE001 - not every drawn body fits
        return
    try:
        found = pick(written, 0)
    except GIVEN_UP:
        return
    read = fastavro_reads(schema, written)
    assert told(found) == told(tuple(read[name] for name in names))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_bytes_are_picked_from_nothing_else_is_raised(data):
    schema = data.draw(RECORDS)
    pick = picker(schema, [data.draw(st.sampled_from(schema["fields"]))["name"]])
    assume(pick is not None)
    try:
        pick(data.draw(st.binary(max_size=24)), 0)
    except GIVEN_UP:
        return


@pytest.mark.parametrize("field", pipeline.event.fields)
def test_each_field_of_the_example_is_picked_alone(field):
    codec = Codec(Catalogue([pipeline.event]))
    kinds = {name: pipeline.event.kinds(name) for name in pipeline.event.fields}
    body = {name: "text" if kind == {"string"} else 700 for name, kind in kinds.items()}
    value = codec.encode(pipeline.event.name, body)

    assert codec.picker(pipeline.event.name, [field])(value) == (body[field],)


def test_endings_of_maps_are_read_once_and_forgotten_when_they_are_many():
    schema = parse_schema(record("r", ["int", VERSIONS, VERSIONS]))
    pick = picker(schema, ["f2", "f1"])
    written = [by_fastavro(schema, {"f0": 1, "f1": {"a": f"{at}"}, "f2": {}}) for at in range(REMEMBERED + 5)]

    found = [pick(each, 0) for each in written]

    assert found == [({}, {"a": f"{at}"}) for at in range(REMEMBERED + 5)]
    assert pick(written[-1], 0)[1] is found[-1][1]
    assert pick(written[0], 0) == found[0]


@pytest.mark.parametrize("names", [["f0"], ["f0", "f1"], ["f1"]])
def test_an_ending_with_bytes_behind_it_is_left_to_fastavro_where_it_is_looked_at(names):
    schema = parse_schema(record("r", ["int", VERSIONS]))
    written = by_fastavro(schema, {"f0": 1, "f1": {"a": "b"}}) + b"\0"
    pick = picker(schema, names)

    if "f1" in names:
        with pytest.raises(GIVEN_UP):
            pick(written, 0)
    else:
        assert pick(written, 0) == (1,)


def test_what_cannot_be_picked_is_told_as_the_decoder_tells_it():
    codec = Codec(Catalogue())
    value = codec.encode("decision", decision("e1"))
    pick = codec.picker("decision", ("event_id", "models"))

    assert pick(value) == ("e1", {"wide": "1"})
    for wrong, cause in ((None, "empty"), (b"", "empty"), (b"{}", "bad_magic"), (value[:20], "truncated")):
        with pytest.raises(Reject) as rejected:
            pick(wrong)
        assert rejected.value.cause == cause


def test_a_value_with_its_schema_in_a_header_is_picked_from_too():
    codec = Codec(Catalogue())
    value = codec.encode("decision", decision("e1"))

    assert codec.picker("decision", ("event_id",))(value[5:], (("__value_schema_id", value[:5]),)) == ("e1",)
