"""What an operator may set for ingest."""

from __future__ import annotations

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

    def secret(self) -> bytes | None:
        """Return the key that an operator gave, if any. Raises ``Misconfigured`` where it can be no secret."""
        if self.pseudonym_key is not None:
            return long_enough(self.pseudonym_key.get_secret_value().encode(), "GUIDEVANE_PSEUDONYM_KEY")
        if self.pseudonym_key_file is None:
            return None
        told = f"GUIDEVANE_PSEUDONYM_KEY_FILE={self.pseudonym_key_file}"
        try:
            return long_enough(self.pseudonym_key_file.read_bytes().strip(), told)
        except OSError as wrong:
            raise Misconfigured(f"{told} cannot be read: {wrong}") from wrong


def long_enough(key: bytes, where: str) -> bytes:
    """Return the key. Raises ``Misconfigured`` where it is too short to keep a secret."""
    if len(key) < _KEY_BYTES:
        raise Misconfigured(f"{where}: the key of the pseudonyms has {len(key)} bytes → {_KEY_BYTES} or more")
    return key
