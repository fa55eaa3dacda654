"""The key of the pseudonyms: told by an operator, or drawn once and kept; a second one is drawn with a warning."""

from __future__ import annotations

import logging
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

_log = logging.getLogger(__name__)

KEPT = "pseudonym.key"
"""Where a drawn key lies, in the state folder."""


async def key_of(room: Room[IngestSettings]) -> bytes:
    """Return the key. Raises ``Misconfigured`` where it cannot be read or kept, or is short.

    Events go before names: where the key is gone another one is drawn, and what that means is said once, loudly.
    """
    told = room.settings.secret()
    if told is not None:
        return told
    path = room.settings.state_dir / KEPT
    topics = room.pipeline.topics
    if room.pipeline.event.pii and not path.exists():
        written = await patiently(room, lambda: room.log.ends(topics.accepted))
        if any(written.values()):
            _log.warning(
                "%s is not there, and %s holds pseudonyms made with it: from now on everybody goes by another one, and "
                "windows, labels and alerts by key begin anew → put that file back; or, where it is another machine's, "
                "give every ingest the same key: GUIDEVANE_PSEUDONYM_KEY=$(openssl rand -hex 32)",
                path, topics.accepted,
            )  # fmt: skip
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
