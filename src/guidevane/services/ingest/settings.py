"""What an operator may set for ingest."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from guidevane.errors import Misconfigured
from guidevane.settings import RoomSettings

_KEY_BYTES = 16


class IngestSettings(RoomSettings):
    """Settings of the ingest room.

    ``pseudonym_key`` (or a file with it) keeps pseudonyms the same over restarts and machines.
    Without either, one is drawn once and kept in the state folder, readable by its owner alone.
    """

    dedupe_window: Annotated[int, Field(ge=0)] = 10_000
    pseudonym_key: SecretStr | None = None
    pseudonym_key_file: Path | None = None
    http_host: str = "127.0.0.1"
    http_port: int = 0
    http_token: SecretStr | None = None

    def secret(self) -> bytes:
        """Return the key of the pseudonyms. Raises ``Misconfigured`` where it is too short to keep a secret."""
        if self.pseudonym_key is not None:
            key = self.pseudonym_key.get_secret_value().encode()
        elif self.pseudonym_key_file is not None:
            key = self.pseudonym_key_file.read_bytes().strip()
        else:
            key = _kept(self.state_dir / "pseudonym.key")
        if len(key) < _KEY_BYTES:
            raise Misconfigured(f"the pseudonym key has {len(key)} bytes: use {_KEY_BYTES} or more")
        return key


def _kept(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            path.chmod(0o600)
            file.write(secrets.token_hex(32).encode())
    except FileExistsError:
        pass
    return path.read_bytes()
