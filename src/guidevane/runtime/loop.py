"""The event loop that runs a process: uvloop where it is installed, for it costs a third less."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def loop_runner() -> Callable[..., None]:
    """Return what runs a coroutine to its end in a loop of its own."""
    try:
        import uvloop  # noqa: PLC0415 - an extra, and not on every platform
    except ImportError:
        return asyncio.run
    return uvloop.run
