"""Waiting for what happens in other processes: by asking again and again, until a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LOOK_EVERY_S = 0.2


async def until(done: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Ask until it is done, or the time is over; tell which."""
    try:
        async with asyncio.timeout(within_s):
            while not await done():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        return False
    return True
