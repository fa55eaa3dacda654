"""Bodies become bytes and bytes bodies again; whatever else arrives is rejected by name."""

import io
import random
import struct
import time
import uuid

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import SCHEMA_ID_HEADER, Codec, schema_id_of
from guidevane.errors import Reject
from guidevane.event import Event

LABEL = {"event_id": "e1", "label": 1.0, "observed_at_us": None}
PREDICTION = {
    "event_id": "e1",
    "event_time_us": 1,
    "deadline_us": 2,
    "score": None,
    "outcome": "full",
    "members": [{"name": "wide", "version": "3", "score": 0.5, "status": "ok", "latency_us": 7}],
    "batch_size": 1,
    "queued_us": 0,
    "protected": {"sex": "f"},
}


def contract(name, fields, version=1):
    return Event(
        f"{name}.v{version}",
        schema={"type": "record", "name": name, "fields": [{"name": "k", "type": "string"}, *fields]},
        key="k",
    )


def codec_of(*events):
    return Codec(Catalogue(events))


def cause_of(codec, name, value, headers=()):
    with pytest.raises(Reject) as rejected:
        codec.decode(name, value, headers)
    assert str(rejected.value), "a rejection says why"
    return rejected.value.cause


@pytest.fixture(scope="module")
def codec():
    return Codec(Catalogue())


@given(
    st.fixed_dictionaries(
        {
            "event_id": st.text(),
            "event_time_us": st.integers(-(2**63), 2**63 - 1),
            "deadline_us": st.integers(-(2**63), 2**63 - 1),
            "feature_set": st.text(),
            "vector": st.binary(max_size=400),
            "protected": st.dictionaries(st.text(), st.text()),
        }
    )
)
def test_a_body_that_is_encoded_is_decoded_as_it_was(codec, body):
    value = codec.encode("features", body)
    assert codec.decode("features", value) == body
    assert codec.decode("features", value, trusted=True) == body


def test_a_value_starts_with_the_magic_byte_and_the_big_endian_schema_id(codec):
    value = codec.encode("label", LABEL)
    assert struct.unpack(">BI", value[:5]) == (0, codec.catalogue.latest("label").id)
    assert schema_id_of(value) == codec.catalogue.latest("label").id


def test_an_id_or_a_guid_in_front_or_in_the_header_are_all_read(codec):
    schema = codec.catalogue.latest("label")
    framed = codec.encode("label", LABEL)
    bare, by_guid = framed[5:], b"\x01" + schema.guid.bytes
    for value, headers in [
        (framed, ()),
        (framed, (("traceparent", b"00-..."),)),
        (by_guid + bare, ()),
        (bare, ((SCHEMA_ID_HEADER, framed[:5]),)),
        (bare, ((SCHEMA_ID_HEADER, by_guid),)),
        (bare, ((SCHEMA_ID_HEADER, b"\x00\x00\x00\x00\x01"), (SCHEMA_ID_HEADER, by_guid))),
    ]:
        assert codec.decode("label", value, headers) == LABEL


def test_frames_are_those_of_confluents_clients(codec):
    # As written out by confluent_kafka.schema_registry's SchemaId("AVRO", 100, "8979...") of 2.16.
    value = bytes.fromhex("0000000064")
    header = bytes.fromhex("01897917622336186f9674299b90a8e2bb")
    assert schema_id_of(value + b"...") == 100
    assert schema_id_of(header + b"...") == uuid.UUID("89791762-2336-186f-9674-299b90a8e2bb")
    assert schema_id_of(b"...", ((SCHEMA_ID_HEADER, header),)) == uuid.UUID("89791762-2336-186f-9674-299b90a8e2bb")
    assert schema_id_of(b"...") is None


def test_each_way_to_be_wrong_has_its_name(codec):
    value = codec.encode("label", LABEL)
    text = value.index(b"e1")
    for cause, wrong in {
        "empty": [None, b""],
        "bad_magic": [b"\x02" + value[1:], b"hello"],
        "truncated": [value[:3], value[:-1], b"\x01abc", value[:5]],
        "trailing_bytes": [value + b"\x00"],
        "unknown_schema": [b"\x00\x00\x00\x00\x07" + value[5:], b"\x01" + uuid.UUID(int=7).bytes],
        "wrong_schema": [codec.encode("prediction", PREDICTION)],
        "bad_utf8": [value[:text] + b"\xff\xff" + value[text + 2 :]],
        "malformed": [value[:-1] + b"\x0e"],
        "decode_budget": [value + bytes(1 << 20)],
    }.items():
        for each in wrong:
            assert cause_of(codec, "label", each) == cause


def test_the_cause_of_a_rejection_is_told_for_contracts_with_arrays_too(codec):
    value = codec.encode("prediction", PREDICTION)
    assert cause_of(codec, "prediction", value[:-1]) == "truncated"
    assert cause_of(codec, "prediction", value + b"x") == "trailing_bytes"


def test_five_hostile_bytes_cost_neither_seconds_nor_gigabytes():
    codec = codec_of(contract("a.nulls", [{"name": "n", "type": {"type": "array", "items": "null"}}]))
    head = struct.pack(">BI", 0, codec.catalogue.latest("a.nulls").id) + b"\x00"
    started = time.process_time()
    # 10^8 and 2^62 items in one block, and a million blocks of one each.
    for bomb in (
        b"\x80\x84\xaf\x5f\x00",
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
        b"\x02" * 1_000_000 + b"\x00",
    ):
        assert cause_of(codec, "a.nulls", head + bomb) == "decode_budget"
    assert time.process_time() - started < 2.0


def test_items_without_width_are_counted_by_what_they_hold():
    nothing = {"type": "record", "name": "a.nothing", "fields": [{"name": f"f{i}", "type": "null"} for i in range(500)]}
    codec = codec_of(contract("a.hollow", [{"name": "n", "type": {"type": "array", "items": nothing}}]))
    head = struct.pack(">BI", 0, codec.catalogue.latest("a.hollow").id) + b"\x00"
    assert cause_of(codec, "a.hollow", head + b"\x80\xea\x30\x00") == "decode_budget"


def test_a_deep_recursion_is_refused_where_the_decoder_would_kill_the_process():
    tree = {"name": "next", "type": ["null", "a.chain"]}
    codec = codec_of(contract("a.chain", [tree]))
    head = struct.pack(">BI", 0, codec.catalogue.latest("a.chain").id)
    assert codec.decode("a.chain", head + b"\x00\x02" * 20 + b"\x00\x00")["next"] is not None
    assert cause_of(codec, "a.chain", head + b"\x00\x02" * 100_000 + b"\x00\x00") == "decode_budget"


def test_large_honest_arrays_pass():
    codec = codec_of(
        contract(
            "a.series",
            [
                {"name": "x", "type": {"type": "array", "items": "double"}},
                {"name": "m", "type": {"type": "map", "values": "long"}},
            ],
        )
    )
    body = {"k": "a", "x": [0.5] * 50_000, "m": {str(i): i for i in range(1000)}}
    assert codec.decode("a.series", codec.encode("a.series", body)) == body


def test_the_budget_is_a_hundred_thousand_values():
    codec = codec_of(contract("a.many", [{"name": "n", "type": {"type": "array", "items": "long"}}]))
    most = {"k": "a", "n": [1] * 99_990}
    assert codec.decode("a.many", codec.encode("a.many", most)) == most
    assert cause_of(codec, "a.many", codec.encode("a.many", {"k": "a", "n": [1] * 100_001})) == "decode_budget"


def test_a_type_that_one_field_names_serves_the_fields_after_it():
    point = {
        "type": "record",
        "name": "Point",
        "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": "double"}],
    }
    kind = {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}
    fields = [
        {"name": "from", "type": point},
        {"name": "kind", "type": kind},
        {"name": "way", "type": {"type": "array", "items": "Point"}},
        {"name": "to", "type": ["null", "Point"]},
        {"name": "kinds", "type": {"type": "map", "values": "Kind"}},
    ]
    codec = codec_of(contract("a.way", fields))
    body = {
        "k": "e1", "from": {"x": 1, "y": 0.5}, "kind": "b", "way": [{"x": n, "y": n / 2} for n in range(70)],
        "to": {"x": -3, "y": 1e9}, "kinds": {"one": "a", "two": "b"},
    }  # fmt: skip
    value = codec.encode("a.way", body)

    assert codec.decode("a.way", value) == codec.decode("a.way", value, trusted=True) == body
    assert cause_of(codec, "a.way", value[:-1]) == "truncated"


def test_blocks_with_a_negative_count_carry_their_size():
    codec = codec_of(contract("a.blocks", [{"name": "n", "type": {"type": "array", "items": "int"}}]))
    head = struct.pack(">BI", 0, codec.catalogue.latest("a.blocks").id) + b"\x00"
    assert codec.decode("a.blocks", head + b"\x03\x04\x02\x04\x00")["n"] == [1, 2]


def test_an_older_event_is_read_with_the_defaults_of_the_newer_contract():
    old = contract("a.grown", [])
    new = contract("a.grown", [{"name": "n", "type": "int", "default": 7}], version=2)
    writer, reader = codec_of(old), codec_of(old, new)
    assert reader.decode("a.grown", writer.encode("a.grown", {"k": "x"})) == {"k": "x", "n": 7}
    assert reader.decoder("a.grown", version=1)(reader.encode("a.grown", {"k": "x", "n": 1})) == {"k": "x"}


def test_a_foreign_registrys_id_is_resolved_once_and_never_for_ids_we_know():
    asked = []
    event = contract("a.foreign", [])
    newer = {**event.schema, "fields": [*event.schema["fields"], {"name": "extra", "type": "double"}]}
    theirs = {12: event.schema, 13: newer, 14: {"type": "record", "name": "a.other", "fields": []}}

    def registry(schema_id):
        asked.append(schema_id)
        return theirs.get(schema_id)

    codec = Codec(Catalogue([event], resolve=registry))
    bare = codec.encode("a.foreign", {"k": "x"})[5:]
    for _ in range(3):
        assert codec.decode("a.foreign", b"\x00\x00\x00\x00\x0c" + bare) == {"k": "x"}
        assert codec.decode("a.foreign", b"\x00\x00\x00\x00\x0d" + bare + bytes(8)) == {"k": "x"}
        assert codec.decode("a.foreign", codec.encode("a.foreign", {"k": "x"})) == {"k": "x"}
    assert asked == [12, 13]
    assert cause_of(codec, "a.foreign", b"\x00\x00\x00\x00\x0e") == "wrong_schema"
    assert cause_of(codec, "a.foreign", b"\x00\x00\x00\x00\x0f") == "unknown_schema"


def test_logical_types_arrive_as_what_the_wire_carries():
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    codec = codec_of(contract("a.moment", [{"name": "t", "type": moment}]))
    assert codec.decode("a.moment", codec.encode("a.moment", {"k": "x", "t": 5}))["t"] == 5


def _any_type(depth):
    leaf = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes"])
    if depth == 0:
        return leaf
    inner = _any_type(depth - 1)
    return st.one_of(
        leaf,
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda values: {"type": "map", "values": values}, inner),
        st.builds(
            lambda branch: ["null", branch], inner.filter(lambda kind: kind != "null" and type(kind) is not list)
        ),
    )


@given(st.lists(_any_type(2), min_size=1, max_size=4), st.binary(max_size=60), st.randoms(use_true_random=False))
def test_any_bytes_under_any_contract_are_decoded_or_rejected(types, noise, rng):
    event = contract("a.any", [{"name": f"f{index}", "type": kind} for index, kind in enumerate(types)])
    codec = codec_of(event)
    head = struct.pack(">BI", 0, codec.catalogue.latest("a.any").id)
    # Small numbers are likelier counts and lengths than random bytes are.
    for payload in (noise, bytes(rng.choice((0, 0, 2, 4, 6, 1)) for _ in noise)):
        try:
            body = codec.decode("a.any", head + payload)
        except Reject:
            continue
        assert list(body) == ["k", *(f"f{index}" for index in range(len(types)))]


def test_a_hundred_thousand_hostile_payloads_are_answered_within_seconds(codec):
    rng = random.Random(7)
    seeds = {
        "label": codec.encode("label", LABEL),
        "prediction": codec.encode("prediction", PREDICTION),
    }
    causes = {}
    started = time.process_time()
    for number in range(100_000):
        name = "label" if number % 2 else "prediction"
        value = bytearray(seeds[name])
        for _ in range(rng.randint(1, 3)):
            value[rng.randrange(len(value))] = rng.randrange(256)
        if not number % 5:
            del value[rng.randrange(len(value)) :]
        try:
            codec.decode(name, bytes(value))
            cause = "read"
        except Reject as rejected:
            cause = rejected.cause
        causes[cause] = causes.get(cause, 0) + 1
    assert time.process_time() - started < 30
    assert causes.keys() <= {
        "read", "empty", "truncated", "bad_magic", "unknown_schema", "wrong_schema", "bad_utf8", "decode_budget",
        "malformed", "trailing_bytes",
    }  # fmt: skip
    assert min(causes[each] for each in ("read", "truncated", "bad_magic", "unknown_schema", "bad_utf8")) > 100


def test_what_fastavro_writes_without_us_is_read(codec):
    schema = parse_schema({**codec.catalogue.latest("label").parsed, "__fastavro_parsed__": False})
    out = io.BytesIO()
    schemaless_writer(out, schema, LABEL)
    framed = struct.pack(">BI", 0, codec.catalogue.latest("label").id) + out.getvalue()
    assert codec.decode("label", framed) == LABEL
