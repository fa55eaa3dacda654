"""Where a command writes its results: known to be writable before the first minute is spent on them."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - typer reads the annotations

from guidevane.errors import Misconfigured


def writable(path: Path | None) -> Path | None:
    """Return where results shall go; no file is touched. The callback of options that name it.

    Raises ``Misconfigured`` where no file could be written there.
    """
    if path is None:
        return None
    folder = next(each for each in path.absolute().parents if each.exists())
    if path.is_dir():
        raise Misconfigured(f"{path} is a folder → name a file in it")
    if not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise Misconfigured(f"{path} cannot be written: {folder} takes no file → name another place")
    return path


def write(path: Path, text: str) -> None:
    """Write results, and the folders that they lie in. Raises ``Misconfigured`` where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as wrong:
        raise Misconfigured(f"{path} cannot be written: {wrong.strerror or wrong} → name another place") from wrong
