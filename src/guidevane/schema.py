"""Avro schemas as values: read from files, parsed, and named by a fingerprint of themselves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastavro.schema import SchemaParseException, parse_schema, to_parsing_canonical_form

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMAS = Path(__file__).with_name("schemas")

# Registries count their ids up from 1: ours start far above, so that the two never meet.
_FIRST_ID = 1 << 30
_LOGICAL = {"logicalType", "precision", "scale", "__fastavro_parsed", "__fastavro_parsed__", "__named_schemas"}


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One version of one contract, parsed. Two schemas with the same ``id`` have the same bytes on the wire.

    ``id`` (31 bits, as Java's clients want it) and ``guid`` are the start of the SHA-256 of the schema's parsing
    canonical form (Avro specification, "Schema Fingerprints"), so that every process derives the same.
    """

    contract: str
    version: int
    id: int
    guid: UUID
    parsed: Mapping[str, Any]

    @property
    def record(self) -> str:
        """Return the record's full name."""
        return str(self.parsed["name"])


def make(contract: str, version: int, schema: Mapping[str, Any]) -> Schema:
    """Parse a schema. Raises ``Misconfigured`` where it is not an Avro record.

    Defaults become the values they stand for: a schema has bytes as text, and fastavro would hand out the text.
    Logical types are left out: their values stay what the wire carries (a ``timestamp-micros`` is an int),
    which costs 10-20 % less and gives Avro and JSON producers the same numbers.

    >>> make("ping", 1, {"type": "record", "name": "a.Ping", "fields": []}).id
    2096383771
    """
    try:
        parsed = parse_schema(physical(schema))
        canonical = to_parsing_canonical_form(parsed)
    except (SchemaParseException, ValueError, LookupError, TypeError, AttributeError, RecursionError) as wrong:
        raise Misconfigured(f"contract {contract!r} version {version} is not an Avro schema: {wrong}") from wrong
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise Misconfigured(f"contract {contract!r} version {version} is not an Avro record")
    named: dict[str, Any] = {}
    for record in [*_records(parsed, named), *_records(list(parsed.get("__named_schemas", {}).values()), named)]:
        for field in record["fields"]:
            if "default" in field:
                try:
                    field["default"] = _typed(field["type"], field["default"], named)
                except (ValueError, TypeError, LookupError) as wrong:
                    where = f"contract {contract!r} version {version}: field {field['name']!r}"
                    raise Misconfigured(f"{where} has a default that does not fit: {field['default']!r:.60}") from wrong
    digest = hashlib.sha256(canonical.encode()).digest()
    number = _FIRST_ID | (int.from_bytes(digest[:4]) & (_FIRST_ID - 1))
    return Schema(contract, version, number, UUID(bytes=digest[:16]), parsed)


def read(path: Path) -> dict[str, Any]:
    """Return the schema in a file. Raises ``Misconfigured`` where it is missing or not a JSON object."""
    try:
        schema = json.loads(path.read_bytes())
    except OSError as wrong:
        raise Misconfigured(f"schema {path}: {wrong.strerror}") from wrong
    except (ValueError, RecursionError) as wrong:
        raise Misconfigured(f"schema {path}: not JSON, {wrong}") from wrong
    if not isinstance(schema, dict):
        raise Misconfigured(f"schema {path}: not a JSON object")
    return schema


def read_tree(root: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the schemas of ``<root>/<name>/v<N>/schema.avsc``, by name and version.

    Raises ``Misconfigured`` where a file is not JSON.
    """
    return {path.name: found for path in sorted(root.glob("*")) if (found := read_history(path))}


def read_history(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the versions of one contract: ``v<N>/schema.avsc`` or ``<any>.v<N>.avsc`` in its folder.

    Raises ``Misconfigured`` where a file is not JSON.
    """
    found = {}
    for path in [*folder.glob("v*/schema.avsc"), *folder.glob("*.avsc")]:
        number = version_of(path)
        if number is not None:
            found[number] = read(path)
    return dict(sorted(found.items()))


def version_of(path: Path) -> int | None:
    """Return the version that a schema file's place says, or ``None`` where it says none.

    >>> version_of(Path("decision/v2/schema.avsc")), version_of(Path("record.v1.avsc")), version_of(Path("record.avsc"))
    (2, 1, None)
    """
    for said in (path.stem.rpartition(".")[2], path.parent.name):
        number = re.fullmatch(r"v([1-9]\d*)", said)
        if number is not None:
            return int(number[1])
    return None


def physical(schema: Any) -> Any:
    """Return a schema without its logical types."""
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _LOGICAL}
    if "fields" in kept:
        kept["fields"] = [{**field, "type": physical(field["type"])} for field in kept["fields"]]
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = physical(kept[key])
    return kept


def own(value: Any) -> Any:
    """Return a default for one event to have of its own: lists and maps are copied."""
    if type(value) is list:
        return [own(item) for item in value]
    if type(value) is dict:
        return {key: own(item) for key, item in value.items()}
    return value


def lends(schema: Mapping[str, Any]) -> bool:
    """Tell whether a parsed schema has a list or a map for a default, which events would share."""
    return any(
        isinstance(field.get("default"), (list, dict)) for record in _records(schema, {}) for field in record["fields"]
    )


def _records(schema: Any, named: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _records(branch, named)
    elif isinstance(schema, dict):
        if "name" in schema:
            named.setdefault(schema["name"], schema)
        for field in schema.get("fields", ()):
            yield from _records(field["type"], named)
        for part in ("type", "items", "values"):
            if part in schema:
                yield from _records(schema[part], named)
        if "fields" in schema:
            yield schema


def _typed(schema: Any, given: Any, named: Mapping[str, Any]) -> Any:  # noqa: C901, PLR0911 - one answer a kind
    if isinstance(schema, list):
        for branch in schema:
            with contextlib.suppress(ValueError, TypeError, LookupError):
                return _typed(branch, given, named)
        raise TypeError(given)
    if isinstance(schema, str) and schema in named:
        return _typed(named[schema], given, named)
    kind = schema["type"] if isinstance(schema, dict) else schema
    match kind, given:
        case "record" | "error", dict():
            return {
                field["name"]: _typed(field["type"], given.get(field["name"], field.get("default")), named)
                for field in schema["fields"]
            }
        case "array", list():
            return [_typed(schema["items"], item, named) for item in given]
        case "map", dict():
            return {key: _typed(schema["values"], item, named) for key, item in given.items()}
        case "bytes" | "fixed", str():
            return given.encode("latin-1")
        case "float" | "double", int() | float() if not isinstance(given, bool):
            return float(given)
        case ("bytes" | "fixed", bytes()) | ("null", None) | ("boolean", bool()) | ("string", str()):
            return given
        case "enum", str() if given in schema["symbols"]:
            return given
        case "int" | "long", int() if not isinstance(given, bool):
            return given
        case dict() | list(), _:
            return _typed(kind, given, named)
    raise TypeError(given)
