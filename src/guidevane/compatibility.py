"""Whether the versions of a contract can read each other, by Apache Avro's own rules.

The modes are those of schema registries. Ours is ``FULL_TRANSITIVE``: topics keep weeks of events and replays read
all of them, with readers older and newer than the writer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import avro.compatibility
import avro.errors
import avro.schema

from guidevane import schema as schemas
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Mode = Literal["BACKWARD", "FORWARD", "FULL", "BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE", "FULL_TRANSITIVE"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why version ``reader`` of a contract cannot read what version ``writer`` wrote."""

    contract: str
    reader: int
    writer: int
    path: str
    says: str
    instead: str

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"{self.contract} v{self.reader} cannot read v{self.writer}{where}: {self.says} → {self.instead}"


def check(
    history: Mapping[int, Mapping[str, Any]], mode: Mode = "FULL_TRANSITIVE", *, contract: str = "schema"
) -> list[Problem]:
    """Return why versions cannot read each other; nothing where all is well.

    Each version is held against the one before it, in the transitive modes against all before it: ``BACKWARD`` asks
    that it reads them, ``FORWARD`` that they read it. Raises ``Misconfigured`` where a version is no Avro record.

    >>> def point(*fields):
    ...     return {"type": "record", "name": "P", "fields": [{"name": name, "type": "int"} for name in fields]}
    >>> [str(problem) for problem in check({1: point("x"), 2: point("x", "y")}, "BACKWARD")]
    ['schema v2 cannot read v1 at y: the field is new and has no default → give field y a default']
    """
    parsed = {number: _parse(contract, number, history[number]) for number in sorted(history)}
    numbers = list(parsed)
    found = []
    for index, newer in enumerate(numbers):
        for older in numbers[:index] if mode.endswith("_TRANSITIVE") else numbers[max(0, index - 1) : index]:
            pairs = []
            if not mode.startswith("FORWARD"):
                pairs.append((newer, older))
            if not mode.startswith("BACKWARD"):
                pairs.append((older, newer))
            for reader, writer in pairs:
                for path, says, instead in _unreadable(parsed[reader], parsed[writer], ""):
                    found.append(Problem(contract, reader, writer, path, says, instead))
    return found


def check_tree(root: Path, mode: Mode = "FULL_TRANSITIVE") -> list[Problem]:
    """Return the problems of every contract in a folder, or of the one contract whose versions it holds.

    Raises ``Misconfigured`` where it holds none, or one that is no Avro record.
    """
    own = schemas.read_history(root)
    tree = {root.name: own} if own else schemas.read_tree(root)
    if not tree:
        raise Misconfigured(f"{root} holds no contract: write <contract>/v1/schema.avsc")
    return [problem for name, history in tree.items() for problem in check(history, mode, contract=name)]


def _parse(contract: str, number: int, schema: Mapping[str, Any]) -> Any:
    schemas.make(contract, number, schema)
    try:
        return avro.schema.parse(json.dumps(schemas.physical(schema)))
    except avro.errors.AvroException as wrong:
        raise Misconfigured(f"contract {contract!r} version {number} is not an Avro schema: {wrong}") from wrong


def _unreadable(reader: Any, writer: Any, path: str) -> Iterator[tuple[str, str, str]]:
    # The checker judges, but keeps its messages and their places in two sets: to tell what is wrong where,
    # it is asked again for each part of a pair that it refused.
    verdict = avro.compatibility.ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)
    if verdict.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
        return
    within: list[tuple[str, str, str]] = []
    if reader.type == writer.type == "record":
        for field in reader.fields:
            place = f"{path}.{field.name}" if path else field.name
            wrote = avro.compatibility.lookup_writer_field(writer, field)
            if wrote is not None:
                within.extend(_unreadable(field.type, wrote.type, place))
            elif not field.has_default:
                within.append((place, "the field is new and has no default", f"give field {field.name} a default"))
    elif reader.type == writer.type == "array":
        within.extend(_unreadable(reader.items, writer.items, f"{path}[]"))
    elif reader.type == writer.type == "map":
        within.extend(_unreadable(reader.values, writer.values, f"{path}{{}}"))
    if within:
        yield from within
        return
    kind = verdict.incompatibilities[0].value
    yield path, "; ".join(sorted(verdict.messages)), _INSTEAD[kind]


_INSTEAD = {
    "name_mismatch": "keep the name, or write the old one into aliases",
    "fixed_size_mismatch": "keep the size, or add a new field",
    "missing_enum_symbols": "keep every symbol, and give the enum a default for symbols to come",
    "reader_field_missing_default_value": "give the field a default",
    "type_mismatch": "keep the type (int may become long, float, double), or add a new field",
    "missing_union_branch": "keep every branch of the union, or add a new field",
}
