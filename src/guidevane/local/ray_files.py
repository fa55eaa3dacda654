"""Where the local Ray keeps its sockets and logs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from guidevane.errors import Misconfigured


def session_dir(state_dir: Path) -> Path:
    """Return where the Ray of ``state_dir`` keeps its sockets: a short path, since a socket's may have 100 bytes."""
    digest = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()
    return Path("/tmp", f"guidevane-{os.getuid()}-{digest[:10]}")  # noqa: S108 - made private, and its owner checked


def keep_logs(state_dir: Path) -> None:
    """Move the logs of a Ray that has ended to ``state_dir/logs/ray`` and remove the rest of its session."""
    sockets, kept = session_dir(state_dir), state_dir / "logs" / "ray"
    logs = sockets / "session_latest" / "logs"
    if logs.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.move(logs.resolve(), kept)
    shutil.rmtree(sockets, ignore_errors=True)


def make_private(directory: Path) -> None:
    """Make an empty directory for this user alone; whoever owns Ray's sockets can run code as its user."""
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise Misconfigured(
            f"{directory}, where the local Ray keeps its sockets, cannot be replaced: it may belong to another user. "
            "Remove it, or choose another state directory."
        ) from None
