"""The directory of model versions: resolve a name, publish a version, point an alias."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydantic

from guidevane.ensemble import Stored, reference
from guidevane.errors import Misconfigured
from guidevane.registry.manifest import Manifest, Plain, digest
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PLAIN = pydantic.TypeAdapter(Plain)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of one model; nothing of it but the manifest has been read yet."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version, as the manifest names it."""
        return self.manifest.version

    def read(self, suffix: str) -> bytes:
        """Return the bytes of the file that ends in ``suffix``, once they have the hash that the manifest says.

        The bytes that were hashed are the bytes that are returned: no one can swap the file in between.
        Raises ``Misconfigured`` where there is not exactly one such file, or where its bytes are others.
        """
        names = [name for name in self.manifest.files if name.endswith(suffix)]
        if len(names) != 1:
            raise Misconfigured(f"{self.path}: the manifest lists {len(names)} files '*{suffix}', not one")
        content = (self.path / names[0]).read_bytes()
        if digest(content) != self.manifest.files[names[0]]:
            raise Misconfigured(
                f"{self.path / names[0]} has SHA-256 {digest(content)[:12]}…, "
                f"the manifest says {self.manifest.files[names[0]][:12]}… → publish it again, or restore the file"
            )
        return content


@dataclass(frozen=True, slots=True)
class Registry:
    """Model versions under one directory."""

    root: Path

    def resolve(self, model: str) -> ModelVersion:
        """Return the version that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` names now.

        Raises ``Misconfigured``, with the nearest name, where there is none.
        """
        wanted = reference(model)
        if not isinstance(wanted, Stored):
            raise Misconfigured(f"'{model}' is a factory, not a model of the registry")
        home = self._home(wanted.name)
        if not home.is_dir():
            advice = nearest(wanted.name, self.names())
            raise Misconfigured(f"there is no model '{wanted.name}' in {self.root} → {advice}")
        version = wanted.version
        if version is None:
            aliases = self.aliases(wanted.name)
            version = aliases.get(str(wanted.alias))
            if version is None:
                advice = nearest(str(wanted.alias), tuple(aliases))
                raise Misconfigured(f"model '{wanted.name}' has no alias '{wanted.alias}' → {advice}")
        if version not in self.versions(wanted.name):
            advice = nearest(version, self.versions(wanted.name))
            raise Misconfigured(f"model '{wanted.name}' has no version '{version}' → {advice}")
        found = ModelVersion(home / version, _manifest(home / version / "manifest.json"))
        if (found.name, found.version) != (wanted.name, version):
            raise Misconfigured(f"{found.path} holds the manifest of {found.name}/{found.version}")
        return found

    def names(self) -> tuple[str, ...]:
        """Return every model's name, sorted."""
        return tuple(sorted(path.name for path in self.root.iterdir() if path.is_dir())) if self.root.is_dir() else ()

    def versions(self, name: str) -> tuple[str, ...]:
        """Return every version of a model, sorted as text."""
        return tuple(sorted(path.parent.name for path in self._home(name).glob("*/manifest.json")))

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of a model points to."""
        path = self._home(name) / "aliases.json"
        try:
            found = json.loads(path.read_bytes()) if path.is_file() else {}
            return pydantic.TypeAdapter(dict[str, str]).validate_python(found)
        except ValueError as wrong:
            raise Misconfigured(f"{path} is no map of aliases to versions: {wrong}") from wrong

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> ModelVersion:
        """Write a version down; writing the same bytes again is no change.

        Raises ``Misconfigured`` where the files are not those of the manifest, or where the version has other bytes.
        """
        if {name: digest(content) for name, content in files.items()} != manifest.files:
            raise Misconfigured(f"{manifest.name}/{manifest.version}: the files are not those of the manifest")
        path = self._home(manifest.name) / manifest.version
        written = path / "manifest.json"
        if written.is_file() and _manifest(written).files != manifest.files:
            raise Misconfigured(f"{path} exists with other bytes → publish under another version")
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
        # Last: a version whose manifest can be read is complete.
        _replace(written, manifest.model_dump_json(indent=2, exclude_defaults=True) + "\n")
        return ModelVersion(path, manifest)

    def point(self, name: str, alias: str, version: str) -> None:
        """Let ``alias`` mean ``version`` from now on. Raises ``Misconfigured`` where there is no such version."""
        found = self.resolve(f"models:/{name}/{version}")
        aliases = self.aliases(name) | {alias: found.version}
        _replace(self._home(name) / "aliases.json", json.dumps(aliases, indent=2, sort_keys=True) + "\n")

    def _home(self, name: str) -> Path:
        try:
            return self.root / _PLAIN.validate_python(name)
        except pydantic.ValidationError:
            raise Misconfigured(f"'{name}' is no name of a model") from None


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as wrong:
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong.errors())
        raise Misconfigured(f"{path}: {said}") from None


def _replace(path: Path, text: str) -> None:
    # Readers see the old file or the new one, never half of one.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
