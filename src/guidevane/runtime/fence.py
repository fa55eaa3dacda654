"""Self-fencing: a process that stood still for too long may have been replaced, and must not write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guidevane.errors import Fenced

if TYPE_CHECKING:
    from guidevane.clock import Clock

_TICK_S = 0.2


class Fence:
    """Closed once the event loop stood still for longer than ``limit_s`` of monotonic time.

    A process that was stopped (SIGSTOP, a suspended laptop, a stuck disk) runs on where it was,
    unaware that its partitions were given away. Whoever asks first after such a gap, the ticker
    or a writer, sees the gap, and from then on every write is refused until :meth:`reset`.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self.clock = clock
        self.limit_s = limit_s
        self.closed = False
        self._last = clock.monotonic_s()

    def touch(self) -> None:
        """Note that the loop is alive; close where it was not for too long."""
        now = self.clock.monotonic_s()
        if now - self._last > self.limit_s:
            self.closed = True
        self._last = now

    def check(self) -> None:
        """Raise ``Fenced`` where a write could come from a zombie."""
        self.touch()
        if self.closed:
            raise Fenced(f"stood still for more than {self.limit_s} s: the partitions may have a new owner")

    def reset(self) -> None:
        """Open again, once nothing of the old life is left."""
        self.closed = False
        self._last = self.clock.monotonic_s()

    async def tick(self) -> None:
        """Touch for ever."""
        while True:
            self.touch()
            await asyncio.sleep(_TICK_S)
