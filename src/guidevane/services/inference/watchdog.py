"""Ends a replica whose model does not come back: nothing else can end Python code that hangs."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_EX_SOFTWARE = 70


class Watchdog:
    """While inside ``with`` for longer than ``stuck_after_s``, the process is ended; Serve starts another.

    It looks every quarter of that time. A model that hangs without letting go of the interpreter's lock
    is beyond it, and is found by Serve's own health check.
    """

    def __init__(self, stuck_after_s: float) -> None:
        self._stuck_after_s = stuck_after_s
        self._inside = 0
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    def __enter__(self) -> Self:
        # Odd while inside: one number tells a watcher who compares whether it is still the same call.
        self._inside += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside += 1

    def _look(self) -> None:
        never = threading.Event()
        seen, looks = 0, 0
        while not never.wait(self._stuck_after_s / 4):
            now = self._inside
            looks = looks + 1 if now == seen and now % 2 else 0
            seen = now
            if looks >= 4:  # noqa: PLR2004 - four quarters
                sys.stderr.write(f"one call has computed for {self._stuck_after_s} s: this replica ends\n")
                sys.stderr.flush()
                os._exit(_EX_SOFTWARE)
