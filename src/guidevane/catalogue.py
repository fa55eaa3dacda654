"""Every contract that this process knows, by name, by version and by schema id.

Without a registry server all processes must still agree on ids. So an id is a fingerprint of the
schema itself: SHA-256 of its parsing canonical form (Avro specification, "Schema Fingerprints").
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from fastavro.schema import SchemaParseException, parse_schema, to_parsing_canonical_form

from guidevane.errors import Misconfigured
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SCHEMAS = Path(__file__).with_name("schemas")

# Registries count their ids up from 1: ours start far above, so that the two never meet.
_FIRST_ID = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One version of one contract, parsed. Two schemas with the same ``id`` have the same bytes on the wire."""

    contract: str
    version: int
    id: int
    guid: UUID
    parsed: Mapping[str, Any]

    @property
    def record(self) -> str:
        """Return the record's full name."""
        return str(self.parsed["name"])


class Contracts(Protocol):
    """What an author's event contract tells the catalogue (:class:`guidevane.event.Event` does)."""

    @property
    def name(self) -> str:
        """Return the contract's name without its version."""
        ...

    @property
    def history(self) -> Mapping[int, Mapping[str, Any]]:
        """Return the schema of each version that is known."""
        ...


class Catalogue:
    """The platform's contracts, and the event contracts of the pipelines that are served.

    ``resolve`` is asked for ids that are not known here (a schema registry's client); it answers with a
    schema or ``None`` and may raise ``Retryable``. What it found is remembered; what it did not is its own
    to remember, for only it knows how soon a schema may still appear.

    >>> catalogue = Catalogue()
    >>> catalogue.latest("features").version
    1
    >>> catalogue.find(catalogue.latest("features").id).contract
    'features'
    """

    def __init__(
        self,
        events: Iterable[Contracts] = (),
        *,
        resolve: Callable[[int | UUID], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self._versions: dict[str, dict[int, Schema]] = {}
        self._found: dict[int | UUID, Schema] = {}
        self._resolve = resolve
        for name, history in read_tree(SCHEMAS).items():
            self._add(name, history)
        for event in events:
            self.learn(event)

    def learn(self, event: Contracts) -> None:
        """Add an author's event contract. Raises ``Misconfigured`` where it contradicts one that is known."""
        self._add(event.name, event.history)

    def names(self) -> list[str]:
        """Return the names of all contracts, sorted."""
        return sorted(self._versions)

    def versions(self, name: str) -> list[Schema]:
        """Return all versions of a contract, oldest first. Raises ``Misconfigured`` for a name not known."""
        known = self._versions.get(name)
        if known is None:
            raise Misconfigured(f"there is no contract {name!r}: {nearest(name, self.names())}")
        return [known[version] for version in sorted(known)]

    def latest(self, name: str) -> Schema:
        """Return the newest version of a contract. Raises ``Misconfigured`` for a name not known."""
        return self.versions(name)[-1]

    def version(self, name: str, number: int) -> Schema:
        """Return one version of a contract. Raises ``Misconfigured`` where it is not known."""
        for schema in self.versions(name):
            if schema.version == number:
                return schema
        raise Misconfigured(f"contract {name!r} has no version {number}")

    def find(self, schema_id: int | UUID) -> Schema | None:
        """Return the schema with this id or GUID; ``None`` where nobody knows it."""
        found = self._found.get(schema_id)
        if found is None and self._resolve is not None:
            schema = self._resolve(schema_id)
            if schema is not None:
                found = self._found[schema_id] = self._foreign(schema)
        return found

    def _add(self, name: str, history: Mapping[int, Mapping[str, Any]]) -> None:
        for version in sorted(history):
            schema = make(name, version, history[version])
            for key in (schema.id, schema.guid):
                before = self._found.get(key)
                if before is not None and before.contract != name:
                    both = f"{before.contract!r} and {name!r}"
                    raise Misconfigured(f"contracts {both} share schema id {key}: rename a record")
                self._found[key] = schema
            before = self._versions.setdefault(name, {}).setdefault(version, schema)
            if before.id != schema.id:
                raise Misconfigured(f"contract {name!r} has two different schemas for version {version}")

    def _foreign(self, schema: Mapping[str, Any]) -> Schema:
        made = make("", 0, schema)
        known = self._found.get(made.id)
        if known is not None:
            return known
        for name in self._versions:
            if self.latest(name).record == made.record:
                return make(name, 0, schema)
        return make(made.record, 0, schema)


def make(contract: str, version: int, schema: Mapping[str, Any]) -> Schema:
    """Parse a schema. Raises ``Misconfigured`` where it is not an Avro record.

    Logical types are left out: their values stay what the wire carries (a ``timestamp-micros`` is an int),
    which costs 10-20 % less and gives Avro and JSON producers the same numbers.
    """
    try:
        parsed = parse_schema(_physical(schema))
        canonical = to_parsing_canonical_form(parsed)
    except (SchemaParseException, ValueError, LookupError, TypeError, AttributeError) as wrong:
        raise Misconfigured(f"contract {contract!r} version {version} is not an Avro schema: {wrong}") from wrong
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise Misconfigured(f"contract {contract!r} version {version} is not an Avro record")
    digest = hashlib.sha256(canonical.encode()).digest()
    number = _FIRST_ID | (int.from_bytes(digest[:4]) & (_FIRST_ID - 1))
    return Schema(contract, version, number, UUID(bytes=digest[:16]), parsed)


def read_tree(root: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the schemas of ``<root>/<name>/v<N>/schema.avsc``, by name and version.

    Raises ``Misconfigured`` where a file is not JSON.
    """
    tree: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(root.glob("*/v*/schema.avsc")):
        version = re.fullmatch(r"v([1-9]\d*)", path.parent.name)
        if version is not None:
            tree.setdefault(path.parent.parent.name, {})[int(version[1])] = read(path)
    return tree


def read(path: Path) -> dict[str, Any]:
    """Return the schema in a file. Raises ``Misconfigured`` where it is missing or not a JSON object."""
    try:
        schema = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as wrong:
        raise Misconfigured(f"schema {path.name}: {wrong}") from wrong
    if not isinstance(schema, dict):
        raise Misconfigured(f"schema {path.name}: not a JSON object")
    return schema


def _physical(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(schema, list):
        return [_physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _LOGICAL}
    if "fields" in kept:
        kept["fields"] = [{**field, "type": _physical(field["type"])} for field in kept["fields"]]
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = _physical(kept[key])
    return kept


_LOGICAL = {"logicalType", "precision", "scale", "__fastavro_parsed", "__fastavro_parsed__", "__named_schemas"}
