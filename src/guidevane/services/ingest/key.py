"""The key of the pseudonyms: told by an operator, or drawn once and kept; never a second one in silence."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured
from guidevane.runtime.room import patiently
from guidevane.services.ingest.settings import long_enough

if TYPE_CHECKING:
    from guidevane.runtime.room import Room
    from guidevane.services.ingest.settings import IngestSettings

KEPT = "pseudonym.key"
"""Where a drawn key lies, in the state folder."""


async def key_of(room: Room[IngestSettings]) -> bytes:
    """Return the key. Raises ``Misconfigured`` where it cannot be read, is short, or would be another than before."""
    told = room.settings.secret()
    if told is not None:
        return told
    path = room.settings.state_dir / KEPT
    topics = room.pipeline.topics
    if room.pipeline.event.pii and not path.exists():
        written = await patiently(room, lambda: room.log.ends(topics.accepted))
        if any(written.values()):
            raise Misconfigured(
                f"{path} is not there, and {topics.accepted} holds pseudonyms made with it: with a new key everybody "
                "would go by another one from now on → put that file back; or, where it is lost or another machine's, "
                "give every ingest the same key: GUIDEVANE_PSEUDONYM_KEY=$(openssl rand -hex 32)"
            )
    return drawn(path)


def drawn(path: Path) -> bytes:
    """Return the key that lies there; the first who asks draws it. Raises ``Misconfigured`` where that cannot be."""
    try:
        if not path.exists():
            _place(path, secrets.token_hex(32).encode())
        return long_enough(path.read_bytes().strip(), str(path))
    except OSError as wrong:
        raise Misconfigured(
            f"the key of the pseudonyms cannot be kept in {path}: {wrong} → make that readable and writable, or set "
            "GUIDEVANE_PSEUDONYM_KEY"
        ) from wrong


def _place(path: Path, key: bytes) -> None:
    """Put a whole file there that its owner alone can read, unless somebody else was first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        Path(path).hardlink_to(name)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
