"""Whatever bytes arrive: an event that keeps its contract, or a rejection that names field and value."""

import base64
import json
import math
import random
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import SCHEMA_ID_HEADER, Codec
from guidevane.contract import Contract
from guidevane.errors import Reject
from guidevane.event import Event
from guidevane.log import Record

SALE = {
    "type": "record",
    "name": "shop.sale",
    "fields": [
        {"name": "customer", "type": "string"},
        {"name": "at", "type": ["null", "long"], "default": None},
        {"name": "amount", "type": "double"},
        {"name": "items", "type": "int", "default": 1},
        {"name": "weight", "type": ["null", "float"], "default": None},
        {"name": "paid", "type": "boolean", "default": False},
        {"name": "part", "type": {"type": "enum", "name": "shop.part", "symbols": ["a", "b"]}, "default": "a"},
        {"name": "photo", "type": "bytes", "default": "\u00ff"},
        {"name": "hash", "type": {"type": "fixed", "name": "shop.hash", "size": 2}, "default": "ab"},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "prices", "type": {"type": "map", "values": "double"}, "default": {}},
        {"name": "either", "type": ["null", "string", "long", "double"], "default": None},
    ],
}
EVENT = Event("shop.sale.v1", schema=SALE, key="customer", time="at", ranges={"amount": (0, 1000)})
CONTRACT = Contract(EVENT, Codec(Catalogue()))
LEAST = {"customer": "c1", "amount": 2}
FULL = {
    "customer": "c1",
    "at": None,
    "amount": 2.0,
    "items": 1,
    "weight": None,
    "paid": False,
    "part": "a",
    "photo": b"\xff",
    "hash": b"ab",
    "tags": [],
    "prices": {},
    "either": None,
}


def record(value, headers=()):
    return Record("shop.events", 3, 7, b"c1", value, headers)


def read(value, headers=()):
    return CONTRACT.read(record(value, headers))


def rejection(value, headers=(), contract=CONTRACT):
    with pytest.raises(Reject) as rejected:
        contract.read(record(value, headers))
    return rejected.value


def as_json(**said):
    return json.dumps({**LEAST, **said}).encode()


def test_json_and_avro_of_one_event_are_read_alike():
    from_json = read(as_json())
    assert from_json == FULL
    assert isinstance(from_json["amount"], float)
    assert read(CONTRACT.encode(FULL)) == FULL
    assert CONTRACT.decode(CONTRACT.encode(FULL)) == FULL


def test_json_may_start_with_space_and_come_with_any_content_type():
    for value in (as_json(), b" \r\n\t" + as_json()):
        assert read(value) == FULL
        assert read(value, (("content-type", b"application/json; charset=utf-8"),)) == FULL


def test_bytes_are_base64_in_json():
    photo = base64.b64encode(b"\x00\x01").decode()
    assert read(as_json(photo=photo, hash=photo))["photo"] == b"\x00\x01"
    assert rejection(as_json(photo="no base64!")).cause == "wrong_type"
    assert rejection(as_json(hash="AAAA")).cause == "wrong_type"


def test_a_json_schema_id_in_the_header_names_no_contract_of_ours():
    headers = ((SCHEMA_ID_HEADER, b"\x01" + bytes(16)),)
    assert read(as_json(), headers) == FULL


def test_avro_that_starts_like_json_is_avro_where_its_header_says_so():
    event = Event(
        "a.b.v1",
        schema={"type": "record", "name": "a.b", "fields": [{"name": "n", "type": "int"}]},
        key="n",
    )
    contract = Contract(event, Codec(Catalogue()))
    framed = contract.encode({"n": -62})
    assert framed[5:] == b"{"
    assert contract.read(record(framed[5:], ((SCHEMA_ID_HEADER, framed[:5]),))) == {"n": -62}


@pytest.mark.parametrize(
    ("said", "cause", "words"),
    [
        ({"amount": None}, "wrong_type", "field 'amount' must be a number, got None"),
        ({"amount": "2"}, "wrong_type", "field 'amount' must be a number, got '2'"),
        ({"amount": True}, "wrong_type", "got True"),
        ({"amount": 1001}, "out_of_range", "field 'amount' is 1001.0, not within [0.0, 1000.0]"),
        ({"amount": -0.1}, "out_of_range", "'amount'"),
        ({"items": 1.0}, "wrong_type", "field 'items' must be an integer (int), got 1.0"),
        ({"items": True}, "wrong_type", "'items'"),
        ({"items": 2**31}, "out_of_range", "field 'items' must fit int, got 2147483648"),
        ({"at": 2**63}, "out_of_range", "field 'at' must fit long"),
        ({"weight": 1e39}, "out_of_range", "field 'weight' must fit a float of 32 bits"),
        ({"paid": 1}, "wrong_type", "field 'paid' must be true or false, got 1"),
        ({"part": "c"}, "wrong_type", "field 'part' must be one of a, b, got 'c'"),
        ({"tags": ["x", 5]}, "wrong_type", "field 'tags.[1]' must be a string, got 5"),
        ({"prices": {"x": "y"}}, "wrong_type", "field 'prices.x' must be a number, got 'y'"),
        ({"prices": []}, "wrong_type", "field 'prices' must be an object"),
        ({"either": []}, "wrong_type", "field 'either' must be of one of the union's types"),
        ({"customer": ""}, "empty_key", "field 'customer' is ''"),
        ({"customer": None}, "wrong_type", "field 'customer' must be a string, got None"),
        ({"customer": 7}, "wrong_type", "'customer'"),
    ],
)
def test_json_that_breaks_the_contract_is_rejected_by_field_and_value(said, cause, words):
    rejected = rejection(as_json(**said))
    assert rejected.cause == cause
    assert words in str(rejected)


def test_a_missing_field_without_default_is_named():
    rejected = rejection(b'{"customer": "c1"}')
    assert (rejected.cause, "'amount' is missing" in str(rejected)) == ("missing_field", True)


def test_a_long_value_is_told_in_sixty_characters():
    assert len(str(rejection(as_json(amount="x" * 10_000)))) < 150


def test_unknown_fields_are_passed_over_and_counted():
    before = CONTRACT.unknown_fields
    assert read(as_json(colour="red", size=3)) == FULL
    assert CONTRACT.unknown_fields - before == 2


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b" ", "bad_magic"),
        (b"[1]", "bad_magic"),
        (b'"x"', "bad_magic"),
        (b"{", "malformed"),
        (b'{"customer": "c1", "amount": NaN}', "malformed"),
        (b'{"customer": "c1", "amount": Infinity}', "malformed"),
        (b'{"customer": "c1", "amount": 1e999}', "malformed"),
        (b'{"customer": "\xff"}', "malformed"),
        (b'{"customer": "\\ud800"}', "malformed"),
        (b'{"a":' * 100_000, "malformed"),
        (b'{"a": "' + b"x" * (1 << 20) + b'"}', "decode_budget"),
    ],
)
def test_what_is_no_event_at_all_has_its_cause(value, cause):
    assert rejection(value).cause == cause


@pytest.mark.parametrize(
    ("number", "cause"), [(math.nan, "not_finite"), (math.inf, "not_finite"), (1e9, "out_of_range")]
)
def test_avro_can_say_what_json_cannot_and_is_held_to_the_same(number, cause):
    assert rejection(CONTRACT.encode({**FULL, "amount": number})).cause == cause
    assert rejection(CONTRACT.encode({**FULL, "weight": math.nan})).cause == "not_finite"
    assert rejection(CONTRACT.encode({**FULL, "prices": {"x": math.inf}})).cause == "not_finite"
    assert rejection(CONTRACT.encode({**FULL, "either": math.nan})).cause == "not_finite"
    assert rejection(CONTRACT.encode({**FULL, "items": 2**31})).cause == "out_of_range"
    assert rejection(CONTRACT.encode({**FULL, "customer": ""})).cause == "empty_key"


def test_the_outside_of_a_value_chooses_the_unions_branch():
    for value in (None, "x", 5, 2.5):
        found = read(as_json(either=value))["either"]
        assert (found, type(found)) == (value, type(value))
    assert read(as_json(either=2**63))["either"] == float(2**63)


def test_json_as_deep_as_a_recursive_contract_allows_costs_no_more_than_its_length():
    node = {
        "type": "record",
        "name": "a.node",
        "fields": [
            {"name": "k", "type": "string"},
            {"name": "a", "type": ["null", "a.node", {"type": "record", "name": "a.leaf", "fields": [
                {"name": "k", "type": "string"}, {"name": "a", "type": ["null", "a.node", "a.leaf"]}]}]},
        ],
    }  # fmt: skip
    contract = Contract(Event("a.node.v1", schema=node, key="k"), Codec(Catalogue()))

    def nested(depth, core):
        return b'{"k": "x", "a": ' * depth + core + b"}" * depth

    assert contract.read(record(nested(30, b"null")))["k"] == "x"
    started = time.process_time()
    assert rejection(nested(40, b"5"), contract=contract).cause == "wrong_type"
    assert rejection(nested(900, b"null"), contract=contract).cause == "decode_budget"
    assert time.process_time() - started < 1
    body = contract.read(record(nested(60, b"null")))
    assert contract.read(record(contract.encode(body))) == body


def test_defaults_are_never_shared_between_events():
    first, second = read(as_json()), read(as_json())
    assert first["tags"] is not second["tags"]
    assert first["prices"] is not second["prices"]


def test_an_older_producers_avro_is_read_into_the_contracts_version():
    older = {**SALE, "fields": [field for field in SALE["fields"] if field["name"] in {"customer", "amount"}]}
    catalogue = Catalogue()
    codec = Codec(catalogue)
    catalogue.learn(Event("shop.sale.v1", schema=older, key="customer"))
    contract = Contract(Event("shop.sale.v2", schema=SALE, key="customer"), codec)
    value = codec.encoder("shop.sale", version=1)({"customer": "c1", "amount": 2.0})
    first, second = contract.read(record(value)), contract.read(record(value))
    assert first == second == FULL
    assert type(first["photo"]) is bytes
    assert first["tags"] is not second["tags"]


def test_a_field_that_was_renamed_is_read_by_its_former_name_in_json_as_in_avro():
    def sale(name, **more):
        part = {"type": "record", "name": "shop.part", "fields": [{"name": name, "type": "int", **more}]}
        fields = [("customer", {"type": "string"}), (name, {"type": "int", "default": 0, **more})]
        parts = {"name": "part", "type": ["null", part, "string"], "default": None}
        named = [{"name": each, **kind} for each, kind in fields]
        return {"type": "record", "name": "shop.sale", "fields": [*named, parts]}

    catalogue = Catalogue()
    codec = Codec(catalogue)
    catalogue.learn(Event("shop.sale.v1", schema=sale("price"), key="customer"))
    contract = Contract(Event("shop.sale.v2", schema=sale("amount", aliases=["price"]), key="customer"), codec)
    older = {"customer": "c1", "price": 3, "part": {"price": 4}}
    now = {"customer": "c1", "amount": 3, "part": {"amount": 4}}
    assert contract.read(record(codec.encoder("shop.sale", version=1)(older))) == now
    assert contract.read(record(json.dumps(older).encode())) == now
    assert contract.read(record(json.dumps({**older, "amount": 5}).encode()))["amount"] == 5
    assert contract.unknown_fields == 1


sales = st.fixed_dictionaries(
    {
        "customer": st.text(min_size=1),
        "at": st.none() | st.integers(*EVENT.time_bounds_us(0)),
        "amount": st.floats(0, 1000),
        "items": st.integers(-(2**31), 2**31 - 1),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
        "paid": st.booleans(),
        "part": st.sampled_from("ab"),
        "tags": st.lists(st.text(), max_size=3),
        "prices": st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        "either": st.none()
        | st.text()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False),
    }
)


@given(sales)
def test_every_event_that_keeps_the_contract_passes_in_json_and_in_avro(event):
    found = read(json.dumps(event).encode())
    assert {name: found[name] for name in event} == event
    assert read(CONTRACT.encode(found)) == found


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_rejection(value):
    head = CONTRACT.encode(FULL)[:5]
    for each in (value, head + value, b"{" + value, b"\x01" + value):
        for headers in ((), ((SCHEMA_ID_HEADER, head),), ((SCHEMA_ID_HEADER, value),)):
            try:
                read(each, headers)
            except Reject:
                continue


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([field["name"] for field in SALE["fields"]]),
)
def test_no_json_value_in_any_place_raises_anything_but_a_rejection(value, name):
    try:
        found = CONTRACT.of_json({**LEAST, name: value})
    except Reject:
        return
    assert read(CONTRACT.encode(found)) == found


def test_a_hundred_thousand_mutants_of_valid_events_are_answered_within_seconds():
    rng = random.Random(11)
    seeds = [CONTRACT.encode({**FULL, "tags": ["x", "y"], "prices": {"z": 1.0}}), as_json(tags=["x"], either=5)]
    kept = 0
    started = time.process_time()
    for number in range(100_000):
        value = bytearray(seeds[number % 2])
        for _ in range(rng.randint(0, 2)):
            value[rng.randrange(len(value))] = rng.randrange(256)
        try:
            found = read(bytes(value))
        except Reject:
            continue
        kept += 1
        assert 0 <= found["amount"] <= 1000
        assert found["customer"]
        assert -(2**31) <= found["items"] < 2**31
    assert kept > 1000
    assert time.process_time() - started < 40


def test_the_frame_of_an_unknown_schema_is_told_by_its_id():
    rejected = rejection(struct.pack(">BI", 0, 99) + b"x")
    assert (rejected.cause, "99" in str(rejected)) == ("unknown_schema", True)


VISIT = {
    "type": "record",
    "name": "shop.visit",
    "fields": [
        {"name": "aisle", "type": "int"},
        {"name": "friend", "type": ["null", "string"], "default": None},
        {"name": "customer", "type": "string"},
        {"name": "guide", "type": ["string", "null"]},
        {"name": "spent", "type": "double"},
    ],
}
VISITS = Contract(
    Event("shop.visit.v1", schema=VISIT, key="customer", pii=("guide", "customer", "friend")), Codec(Catalogue())
)
visits = st.fixed_dictionaries(
    {
        "aisle": st.integers(-(2**31), 2**31 - 1),
        "friend": st.none() | st.text(),
        "customer": st.text(min_size=1),
        "guide": st.none() | st.text(),
        "spent": st.floats(allow_nan=False, allow_infinity=False),
    }
)


@given(visits, st.text(min_size=1, max_size=40))
def test_personal_fields_are_replaced_where_they_lie_as_if_all_were_written_again(visit, name):
    value = VISITS.encode(visit)
    body, places = VISITS.cut(record(value))
    assert body == visit
    assert VISITS.renamed(value, body, places) == value
    hidden = {**body, **{field: name for field in ("guide", "customer", "friend") if body[field] is not None}}
    assert VISITS.renamed(value, hidden, places) == VISITS.encode(hidden)


def test_what_the_contract_did_not_write_itself_is_not_cut():
    visit = {"aisle": 1, "friend": None, "customer": "c", "guide": None, "spent": 1.0}
    assert VISITS.cut(record(json.dumps(visit).encode())) == (visit, None)
    framed = VISITS.encode(visit)
    assert VISITS.cut(record(framed[5:], ((SCHEMA_ID_HEADER, framed[:5]),))) == (visit, None)


def test_an_int_of_more_than_32_bits_is_out_of_range_on_the_quick_way_too():
    wide = {**VISIT, "fields": [{**VISIT["fields"][0], "type": "long"}, *VISIT["fields"][1:]]}
    other = Contract(Event("shop.visit.v1", schema=wide, key="customer"), Codec(Catalogue()))
    visit = {"aisle": 2**31, "friend": None, "customer": "c", "guide": None, "spent": 1.0}
    value = VISITS.encode({**visit, "aisle": 0})[:5] + other.encode(visit)[5:]
    with pytest.raises(Reject, match=r"'aisle' is 2147483648, not within") as refused:
        VISITS.read(record(value))
    assert refused.value.cause == "out_of_range"
