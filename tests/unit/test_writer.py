"""What is written by a function made for its schema is what fastavro writes, or is left to fastavro."""

import io
import math

import numpy as np
import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.writer import UNFIT, long, writer

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "string", "bytes")
NAMES = st.uuids().map(lambda u: f"n{u.hex}")
# Values that fit no type in particular: a caller's mistakes, and what only looks like a mistake.
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.sampled_from([np.int64(7), np.float32(0.5), np.bool_(1), bytearray(b"ab"), ("double", 1.0), {}, [], {"a": 1}]),
)  # fmt: skip


def types(depth: int = 2):
    plain = st.sampled_from(PRIMITIVES)
    if not depth:
        return plain
    inner = types(depth - 1)
    enum = st.builds(lambda n: {"type": "enum", "name": n, "symbols": ["a", "b"]}, NAMES)
    return st.one_of(
        plain,
        enum,
        inner.map(lambda t: {"type": "array", "items": t}),
        inner.map(lambda t: {"type": "map", "values": t}),
        inner.filter(unites).map(lambda t: ["null", t]),
        inner.filter(unites).map(lambda t: [t, "null"]),
        st.builds(record, NAMES, st.lists(inner, max_size=3)),
        st.just(["int", "string"]),
        st.just({"type": "long", "logicalType": "timestamp-micros"}),
    )


def unites(kind):
    return kind != "null" and not isinstance(kind, list)


def record(name, kinds):
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(kinds)]}


def values(kind):
    """Return values of a type, now and then an odd one."""
    if isinstance(kind, list):
        fit = st.one_of(*(values(each) for each in kind))
    elif isinstance(kind, dict):
        match kind["type"]:
            case "array":
                fit = st.lists(values(kind["items"]), max_size=3)
            case "map":
                fit = st.dictionaries(st.text(max_size=3), values(kind["values"]), max_size=3)
            case "enum":
                fit = st.sampled_from(["a", "b", "c"])
            case "record":
                fit = st.fixed_dictionaries({field["name"]: values(field["type"]) for field in kind["fields"]})
            case _:
                fit = st.integers(-(2**63), 2**63 - 1)
    else:
        fit = {
            "null": st.none(), "boolean": st.booleans(), "int": st.integers(-(2**31), 2**31 - 1),
            "long": st.integers(-(2**63), 2**63 - 1), "float": st.floats(width=32), "double": st.floats(),
            "string": st.text(max_size=20), "bytes": st.binary(max_size=20),
        }[kind]  # fmt: skip
    return st.one_of(fit, fit, fit, fit, fit, fit, fit, ODD)


def by_fastavro(schema, body):
    out = io.BytesIO()
    schemaless_writer(out, schema, body)
    return out.getvalue()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_what_is_written_is_what_fastavro_writes_or_is_left_to_it(data):
    schema = parse_schema(data.draw(st.lists(types(), min_size=1, max_size=4).map(lambda kinds: record("r", kinds))))
    body = data.draw(values(schema))
    write = writer(schema)
    if write is None:
        return
    try:
        written = write(body)
    except UNFIT:
        return
    assert written == by_fastavro(schema, body)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_long_is_written_as_fastavro_writes_it(value):
    assert long(value) == by_fastavro(parse_schema("long"), value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, True, 1.0, np.int64(1), "1", None])
def test_what_is_no_long_is_left_to_fastavro_even_where_it_equals_one_that_was_written(value):
    long(1)
    with pytest.raises(UNFIT):
        long(value)


def test_an_int_of_more_than_32_bits_is_left_to_fastavro():
    write = writer(record("r", ["int"]))
    with pytest.raises(UNFIT):
        write({"f0": 2**31})


def test_every_contract_of_ours_is_written_without_fastavro():
    catalogue = Catalogue()
    assert all(writer(catalogue.latest(name).parsed) is not None for name in catalogue.names())


def test_a_body_that_does_not_fit_raises_what_fastavro_says():
    codec = Codec(Catalogue())
    with pytest.raises(ValueError, match="no value and no default for event_id"):
        codec.encode("label", {"label": 1.0})


def test_a_body_that_is_right_and_not_plain_is_written_all_the_same():
    codec = Codec(Catalogue())
    plain = codec.encode("label", {"event_id": "e1", "label": 2.0, "observed_at_us": 5})
    odd = codec.encode("label", {"event_id": "e1", "label": np.float64(2), "observed_at_us": ("long", 5)})
    assert odd == plain
    assert math.isclose(codec.decode("label", odd)["label"], 2.0)
