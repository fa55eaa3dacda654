"""The committed contracts, their examples and the types in ``events.py`` say the same."""

import types
import typing

import orjson
import pytest

from guidevane import events
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.plain import PlainJson
from guidevane.schema import SCHEMAS, make, read, read_tree

TREE = read_tree(SCHEMAS)
VERSIONS = [(name, number) for name, history in TREE.items() for number in history]
EXAMPLES = sorted(SCHEMAS.glob("*/v*/examples/*.json"))
CODEC = Codec(Catalogue())

_PLAIN = {"string": str, "int": int, "long": int, "double": float, "boolean": bool, "bytes": bytes, "null": type(None)}


def type_of(schema):
    if isinstance(schema, list):
        return set().union(*(type_of(branch) for branch in schema))
    match schema if isinstance(schema, str) else schema["type"]:
        case str(primitive) if primitive in _PLAIN:
            return {_PLAIN[primitive]}
        case "enum":
            return {("one of", *schema["symbols"])}
        case "map":
            return {(dict, frozenset(type_of(schema["values"])))}
        case "array":
            return {(list, frozenset(type_of(schema["items"])))}
        case "record":
            return {getattr(events, schema["name"])}
    raise AssertionError(schema)


def type_said(hint):
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return set().union(*(type_said(part) for part in typing.get_args(hint)))
    if origin is typing.Literal:
        return {("one of", *typing.get_args(hint))}
    if origin in {dict, list}:
        return {(origin, frozenset(type_said(typing.get_args(hint)[-1])))}
    return {hint}


def records_in(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "record":
            yield schema
        for part in schema.values():
            yield from records_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from records_in(part)


@pytest.mark.parametrize(("name", "number"), VERSIONS)
def test_a_contract_is_an_avro_record_and_every_field_is_explained(name, number):
    make(name, number, TREE[name][number])
    assert all(field["doc"] for record in records_in(TREE[name][number]) for field in record["fields"])


@pytest.mark.parametrize("name", [name for name in TREE if name != "dead_letter"])
def test_the_latest_version_and_its_typed_dict_agree_field_by_field(name):
    for record in records_in(TREE[name][max(TREE[name])]):
        hints = typing.get_type_hints(getattr(events, record["name"]))
        assert list(hints) == [field["name"] for field in record["fields"]]
        for field in record["fields"]:
            assert type_said(hints[field["name"]]) == type_of(field["type"]), f"{record['name']}.{field['name']}"


@pytest.mark.parametrize(("name", "number"), VERSIONS)
def test_every_version_has_examples(name, number):
    assert len(list((SCHEMAS / name / f"v{number}" / "examples").glob("*.json"))) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parts[-4]}-{path.parts[-3]}-{path.stem}")
def test_an_example_is_encoded_and_decoded_by_the_latest_version_for_ever(path):
    name, number = path.parts[-4], int(path.parts[-3][1:])
    body = PlainJson(make(name, number, TREE[name][number]).parsed)(orjson.loads(path.read_bytes()))
    value = CODEC.encoder(name, version=number)(body)
    assert CODEC.decoder(name, version=number)(value) == body
    read_now = CODEC.decode(name, value)
    assert {key: read_now[key] for key in body.keys() & read_now.keys()} == {
        key: body[key] for key in body.keys() & read_now.keys()
    }


def test_examples_hold_no_field_that_their_contract_lacks():
    for path in EXAMPLES:
        reader = PlainJson(make("example", 1, read(path.parent.parent / "schema.avsc")).parsed)
        reader(orjson.loads(path.read_bytes()))
        assert reader.unknown_fields == 0, path
