"""Every contract that this process knows, by name, by version and by schema id.

There is no registry server to ask: ids are derived from the schemas (:mod:`guidevane.schema`), so all processes agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from guidevane.errors import Misconfigured
from guidevane.schema import SCHEMAS, Schema, make, read_tree
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from uuid import UUID


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
        versions = dict(self._versions.get(name, {}))
        for number, schema in sorted(history.items()):
            made = make(name, number, schema)
            other = self._found.get(made.id) or self._found.get(made.guid)
            if other is not None and other.contract != name:
                both = f"{other.contract!r} and {name!r}"
                raise Misconfigured(f"contracts {both} share schema id {made.id}: rename one record")
            if versions.setdefault(number, made).id != made.id:
                raise Misconfigured(f"contract {name!r} has two different schemas for version {number}")
        self._versions[name] = versions
        for made in versions.values():
            self._found[made.id] = self._found[made.guid] = made

    def _foreign(self, schema: Mapping[str, Any]) -> Schema:
        made = make("", 0, schema)
        known = self._found.get(made.id)
        if known is not None:
            return known
        owners = (name for name in self._versions if self.latest(name).record == made.record)
        return make(next(owners, made.record), 0, schema)
