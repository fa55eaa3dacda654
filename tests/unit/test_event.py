"""An event contract names its fields rightly, or says every mistake at once."""

import json
from pathlib import Path

import pytest

from guidevane.errors import Misconfigured
from guidevane.event import Event
from guidevane.word import mistakes_of

PART = {"type": "enum", "name": "shop.part", "symbols": ["a", "b"]}
SALE = {
    "type": "record",
    "name": "shop.sale",
    "fields": [
        {"name": "customer", "type": "string"},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
        {"name": "amount", "type": "double"},
        {"name": "items", "type": ["null", "int"], "default": None},
        {"name": "part", "type": PART},
        {"name": "other_part", "type": "shop.part"},
        {"name": "there", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}


def sale(**said):
    return Event(**{"contract": "shop.sale.v1", "schema": SALE, "key": "customer", **said})


def told(event):
    return [(mistake.path, mistake.says, mistake.instead) for mistake in mistakes_of(event)]


def test_a_contract_without_mistakes_knows_its_fields():
    event = sale(time="at", protected=("part", "other_part"), pii=("customer",), ranges={"amount": (0, 1e6)})
    assert told(event) == []
    assert (event.name, event.version) == ("shop.sale", 1)
    assert event.fields == ("customer", "at", "amount", "items", "part", "other_part", "there", "tags")
    assert event.numeric_fields == ("at", "amount", "items", "there")
    assert event.nullable("items")
    assert not event.nullable("amount")
    assert event.parsed["name"] == "shop.sale"


@pytest.mark.parametrize(
    ("said", "path", "part"),
    [
        ({"key": "custommer"}, "key", "write 'customer'"),
        ({"key": "items"}, "key", "may be null"),
        ({"key": "tags"}, "key", "must be a string or an integer"),
        ({"id": "amount"}, "id", "must be a string or an integer"),
        ({"id": "customer", "pii": ("customer",)}, "id", "an event's id stands in clear on every topic"),
        ({"protected": ("customer",), "pii": ("customer",)}, "protected[0]", "stands in clear on every topic"),
        ({"time": "amount"}, "time", "microseconds"),
        ({"time": "items"}, "time", "'items' is int → must be a long"),
        ({"time": "there"}, "time", "local-timestamp-millis, which is no moment for everybody"),
        ({"time": "zzz"}, "time", "one of: customer, at"),
        ({"protected": ("part", "prt")}, "protected[1]", "write 'part'"),
        ({"protected": ("tags",)}, "protected[0]", "'tags' is array"),
        ({"pii": ("items",)}, "pii[0]", "a string, to hold the pseudonym"),
        ({"ranges": {"amount": (2, 1)}}, "ranges.amount", "low 2.0 is above high 1.0"),
        ({"ranges": {"part": (0, 1)}}, "ranges.part", "'part' is enum"),
        ({"ranges": {"amont": (0, 1)}}, "ranges.amont", "write 'amount'"),
        ({"contract": "shop.sales.v1"}, "schema", "its record is 'shop.sale', the contract is 'shop.sales'"),
        ({"schema": {"type": "int"}}, "schema", "not an Avro record"),
        ({"schema": {"type": "record", "name": "x", "fields": [{}]}}, "schema", "not an Avro schema"),
        ({"schema": Path("nowhere.avsc")}, "schema", "No such file"),
        ({"schema": None}, "schema", "ships no contract 'shop.sale.v1'"),
    ],
)
def test_each_mistake_is_told_with_its_path_and_what_to_write(said, path, part):
    ((where, says, instead),) = told(sale(**said))
    assert where == path
    assert part in f"{says} → {instead}"


def test_all_mistakes_are_told_in_one_run():
    event = sale(key="k", id="i", time="t", protected=("p",), pii=("q",), ranges={"r": (0, 1)})
    assert [path for path, _, _ in told(event)] == ["key", "id", "time", "protected[0]", "pii[0]", "ranges.r"]


@pytest.mark.parametrize("contract", ["sale", "shop.sale", "shop.sale.v0", "sale.v1", "shop.sale.v1 ", "shop..sale.v1"])
def test_a_contract_is_a_namespace_a_record_and_a_version(contract):
    with pytest.raises(Misconfigured, match=r"Event\.contract: must be a namespace, a record and a version"):
        sale(contract=contract)


def test_the_time_is_in_microseconds_whatever_its_logical_type():
    assert sale(time="at").time_us({"at": 1_467_331_200_000}) == 1_467_331_200_000_000
    assert sale(time="items").time_us({"items": 5}) == 5
    assert sale(time="at").time_us({"at": None}) is None
    assert sale().time_us({"at": 5}) is None


@pytest.mark.parametrize("place", ["v{}/schema.avsc", "sale.v{}.avsc", "v{}.avsc"])
def test_other_versions_beside_the_schema_are_known(tmp_path, place):
    for version in (1, 2, 3):
        path = tmp_path / place.format(version)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**SALE, "doc": f"version {version}"}))
    event = sale(contract="shop.sale.v2", schema=tmp_path / place.format(2))
    assert {version: schema["doc"] for version, schema in event.history.items()} == {
        1: "version 1",
        2: "version 2",
        3: "version 3",
    }
    assert told(event) == []
    assert told(sale(schema=tmp_path / place.format(2)))[0][1] == "the file holds version 2, the contract is version 1"


def test_a_schema_whose_place_says_no_version_stands_alone(tmp_path):
    path = tmp_path / "schema.avsc"
    path.write_text(json.dumps(SALE))
    (tmp_path / "other.v7.avsc").write_text("not read")
    event = sale(contract="shop.sale.v4", schema=path)
    assert list(event.history) == [4]
    assert told(event) == []


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        (PART | {"name": "shop.x"}, "c"),
        ("int", 1.5),
        ("int", True),
        (["null", "int"], "x"),
        ({"type": "array", "items": "int"}, ["x"]),
        ("string", None),
    ],
)
def test_a_default_that_does_not_fit_is_a_mistake(kind, default):
    schema = {**SALE, "fields": [*SALE["fields"], {"name": "more", "type": kind, "default": default}]}
    assert [mistake.path for mistake in mistakes_of(sale(schema=schema))] == ["schema"]


def test_a_file_that_is_not_json_is_misconfigured(tmp_path):
    path = tmp_path / "schema.avsc"
    path.write_text("{")
    with pytest.raises(Misconfigured, match="not JSON"):
        _ = sale(schema=path).parsed
