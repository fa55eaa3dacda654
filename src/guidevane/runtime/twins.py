"""Noticing another process of the same name: in a group, each takes the other's place, and both answer meanwhile."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidevane.clock import Clock

_TIMES = 6
_WITHIN_S = 60.0
_log = logging.getLogger(__name__)


class Twins:
    """Whether a static member is thrown out of its group so often that another one must go by its name.

    A stall or a broker's failure throws it out once; Kafka does not tell a client of ours that it was replaced.
    ``mend`` is what a person should do.
    """

    def __init__(
        self,
        clock: Clock,
        group: str,
        instance: str,
        mend: str = "end one of them, or give each a GUIDEVANE_INSTANCE of its own",
    ) -> None:
        self._clock = clock
        self._group = group
        self._instance = instance
        self._mend = mend
        self._ousted_s: deque[float] = deque(maxlen=_TIMES)
        self._told = False

    def ousted(self) -> None:
        """Note that the group did not know this member; tell of it where it begins to be too often."""
        self._ousted_s.append(self._clock.monotonic_s())
        if not self.says:
            self._told = False
        elif not self._told:
            _log.error("%s", self.says)
            self._told = True

    @property
    def says(self) -> str:
        """Return what is wrong, nothing where nothing is."""
        often = len(self._ousted_s) == _TIMES and self._clock.monotonic_s() - self._ousted_s[0] <= _WITHIN_S
        return (
            f"another process is '{self._instance}' in group {self._group} too: each takes the other's partitions, and "
            f"what comes meanwhile is answered twice → {self._mend}"
            if often
            else ""
        )
