"""What is read by a function made for its schema is what fastavro reads, or is left to fastavro."""

import io

import pytest
from fastavro import parse_schema, schemaless_reader
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.test_writer import by_fastavro, record, types, values

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.errors import Reject
from guidevane.pipelines.employment import pipeline
from guidevane.reader import GIVEN_UP, cutter, more, reader

RECORDS = st.lists(types(), min_size=1, max_size=5).map(lambda kinds: parse_schema(record("r", kinds)))


def told(value):
    """Return a value such that two are equal only where types are, NaN equals itself and 0.0 is not -0.0."""
    return repr(value)


def fastavro_reads(schema, data):
    body = io.BytesIO(data)
    read = schemaless_reader(body, schema, None)
    assert body.tell() == len(data), "bytes follow the record"
    return read


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_read_is_what_fastavro_reads(data):
    schema = data.draw(RECORDS)
    read = reader(schema)
    body = data.draw(values(schema))
    assume(read is not None)
    try:
        written = by_fastavro(schema, body)
    except Exception:  # noqa: BLE001 - not every drawn body fits
        return
    try:
        found = read(written, 0)
    except GIVEN_UP:
        return
    assert told(found) == told(fastavro_reads(schema, written))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_cut_lies_where_it_is_said_to_lie(data):
    schema = data.draw(RECORDS)
    fields = [field["name"] for field in schema["fields"]]
    asked = data.draw(st.lists(st.sampled_from(fields), unique=True))
    cut, read = cutter(schema, asked), reader(schema)
    body = data.draw(values(schema))
    assume(read is not None)
    try:
        written = by_fastavro(schema, body)
        whole = read(written, 0)
    except Exception:  # noqa: BLE001 - not every drawn body fits, or is plain
        return
    found, places = cut(b"frame" + written, 5)
    assert told(found) == told(whole)
    ahead = iter(places)
    for field, begin, end in zip([f for f in schema["fields"] if f["name"] in asked], ahead, ahead, strict=True):
        alone = parse_schema(record("alone", [field["type"]]))
        assert (b"frame" + written)[begin:end] == by_fastavro(alone, {"f0": whole[field["name"]]})


@pytest.mark.parametrize("types_", [["int"], ["int"] * 3, [["null", "int"]]])
def test_an_int_of_more_than_32_bits_is_left_to_fastavro(types_):
    narrow = parse_schema(record("r", types_))
    wide = parse_schema(record("r", [["null", "long"] if isinstance(each, list) else "long" for each in types_]))
    for number, fits in ((2**31 - 1, True), (-(2**31), True), (2**31, False), (-(2**31) - 1, False)):
        written = by_fastavro(wide, {f"f{at}": number for at in range(len(types_))})
        if fits:
            assert reader(narrow)(written, 0) == {f"f{at}": number for at in range(len(types_))}
        else:
            with pytest.raises(GIVEN_UP):
                reader(narrow)(written, 0)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_bytes_are_read_fastavro_reads_the_same(data):
    schema = data.draw(RECORDS)
    read = reader(schema)
    assume(read is not None)
    hostile = data.draw(st.binary(max_size=24))
    try:
        found = read(hostile, 0)
    except GIVEN_UP:
        return
    assert told(found) == told(fastavro_reads(schema, hostile))


@pytest.mark.parametrize("numbers", [[0, 1, 63], [0, -1, 63], [64, 1, 2], [-64, 63, 8191], [2**31 - 1, -(2**31), 0]])
def test_numbers_side_by_side_are_read_together_or_one_by_one(numbers):
    schema = parse_schema(record("r", ["int"] * 3))
    body = dict(zip(["f0", "f1", "f2"], numbers, strict=True))
    assert reader(schema)(b"frame" + by_fastavro(schema, body), 5) == body


@pytest.mark.parametrize("cut", range(1, 12))
def test_what_ends_early_or_goes_on_is_left_to_fastavro(cut):
    schema = parse_schema(record("r", ["int", "int", "int", "string", "double"]))
    whole = by_fastavro(schema, {"f0": 1, "f1": 2, "f2": 3, "f3": "abc", "f4": 1.0})
    for wrong in (whole[:-cut], whole + b"\0" * cut):
        with pytest.raises(GIVEN_UP):
            reader(schema)(wrong, 0)


@given(st.integers(-(2**62), 2**62 - 1), st.binary(max_size=9))
def test_a_number_of_any_length_is_read_as_it_was_written_whatever_follows(number, behind):
    data = by_fastavro(parse_schema("long"), number)
    if len(data) > 1:
        assert more(data + behind, 1, data[0]) == (number, len(data))


def test_a_number_of_more_than_nine_bytes_is_left_to_fastavro():
    with pytest.raises(GIVEN_UP):
        more(b"\xff" * 9 + b"\x01", 1, 0xFF)


def test_every_contract_of_ours_is_read_without_fastavro():
    catalogue = Catalogue([pipeline.event])
    assert all(reader(catalogue.latest(name).parsed) is not None for name in catalogue.names())


def test_what_is_wrong_is_still_told_as_fastavro_tells_it():
    codec = Codec(Catalogue())
    label = codec.encode("label", {"event_id": "e1", "label": 2.0, "observed_at_us": 5})
    causes = []
    for wrong in (label[:-1], label + b"\0", label[:5] + b"\x05" + label[6:], label[:6] + b"\xff" + label[7:]):
        with pytest.raises(Reject) as rejected:
            codec.decode("label", wrong)
        causes.append(rejected.value.cause)
    assert causes == ["truncated", "trailing_bytes", "truncated", "bad_utf8"]
