"""Arrival files, as the commands and the load tests read them."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from guidevane.control.recording import parse
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


def read(path: Path) -> npt.NDArray[np.float64]:
    """Return the arrivals of a file, gzipped where its name ends in ``.gz``, as ``control.recording.parse`` has them.

    Raises:
        Misconfigured: also where the file cannot be read.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as wrong:
        raise Misconfigured(f"{path} cannot be read: {wrong}") from wrong
    return parse(text.splitlines(), name=str(path))
