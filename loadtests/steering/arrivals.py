"""Arrival files: one time in seconds a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.commands.arrivals import read
from guidevane.control.recording import HEADER, parse

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.steering.plant.columns import Floats

__all__ = ["HEADER", "parse", "read", "write"]


def write(path: Path, arrivals_s: Floats) -> None:
    """Write an arrival file that :func:`read` reads, to the microsecond."""
    path.write_text("".join(f"{at:.6f}\n" for at in arrivals_s))
