"""By what a platform's rooms go in their groups: two platforms on one cluster are two members each, not one twice."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "platform.id"


def identity(state_dir: Path) -> str:
    """Return the name of a state folder, drawn once and kept in it: rooms that start again have their places back."""
    path = state_dir / _NAME
    kept = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
    if not kept.isalnum():
        kept = secrets.token_hex(3)
        path.write_text(f"{kept}\n", encoding="ascii")
    return kept
