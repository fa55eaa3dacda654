"""A secret of one platform, in a file: it is never in a command line or an environment."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def new_token(path: Path) -> str:
    """Write a new token that only this user can read, in the place of an old one, and return it."""
    token = secrets.token_hex(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(path, "x", encoding="ascii", opener=_private) as file:
        file.write(token)
    return token


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
