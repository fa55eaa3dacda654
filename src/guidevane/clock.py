"""The only door to time: wall time for what is written down, monotonic time for waiting."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks of time."""

    def now_us(self) -> int:
        """Return wall-clock time in microseconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards."""
        ...


class SystemClock:
    """The machine's clocks; the wall clock ``offset_s`` ahead, for drills with a machine whose clock is wrong."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self._offset_us = round(offset_s * 1e6)

    def now_us(self) -> int:
        """Return wall-clock time in microseconds since the epoch."""
        return time.time_ns() // 1000 + self._offset_us

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()
