"""Waiting for a machine to come to rest.

Processes that have just said that they are ready still load and compile; a load that begins on top
of that measures the start, not the service.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from guidevane.clock import Clock

_WITHIN_S = 10.0
_QUIET_PERCENT = 45.0
_QUIET_LOOKS = 3
_LOOK_EVERY_S = 0.5


async def settled(clock: Clock) -> float:
    """Return when starting up no longer takes the machine's time, or after ten seconds; and how long that took."""
    began_s, quiet = clock.monotonic_s(), 0
    psutil.cpu_percent()
    while quiet < _QUIET_LOOKS and clock.monotonic_s() - began_s < _WITHIN_S:
        await asyncio.sleep(_LOOK_EVERY_S)
        quiet = quiet + 1 if psutil.cpu_percent() < _QUIET_PERCENT else 0
    return round(clock.monotonic_s() - began_s, 1)
