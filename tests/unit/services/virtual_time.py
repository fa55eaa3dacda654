"""An event loop whose time passes as fast as it is computed, and a clock that shows it: overload without waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")
START_S = 1_700_000_000.0


class _Jump(selectors.DefaultSelector):
    """A selector that, where nothing is ready, lets the time pass that it was told to wait."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time."""

    def __init__(self) -> None:
        self.jump = _Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.now_s


class LoopClock:
    """The time of the loop that runs."""

    def now_us(self) -> int:
        return round((START_S + self.monotonic_s()) * 1e6)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def in_virtual_time(work: Coroutine[Any, Any, R]) -> R:
    """Run it to its end; nothing that it awaits may come from outside the process."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
