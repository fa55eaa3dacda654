"""Planning takes a second of CPU, on the cores that serve the events it plans for: it takes a little at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from guidevane.control.pausing import pausing

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.control.actions import Decision, Policy
    from guidevane.control.observation import Observation

_AT_ONCE_S: Final = 0.005
_SHARE: Final = 1 / 3
_WITHIN_S: Final = 4.0
"""Who has rested for that long in one plan goes on without: the loop that waits for it is taken for stuck after ten."""


class Rests:
    """What a thread that plans is asked between simulations: is it time for a rest?

    It computes for ``_AT_ONCE_S`` at a time, and for a third of the time at most; where others had the core meanwhile,
    that was rest enough.
    """

    def __init__(
        self,
        *,
        used_s: Callable[[], float] = time.thread_time,
        now_s: Callable[[], float] = time.monotonic,  # noqa: TID251 - a thread's own pace, of which nothing is told or decided
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - nothing is waited for
    ) -> None:
        self._used_s, self._now_s, self._sleep = used_s, now_s, sleep
        self._left_s = _WITHIN_S
        self._began = used_s(), now_s()

    def __call__(self) -> None:
        """Rest, if it is time."""
        began_s, since_s = self._began
        used_s = self._used_s() - began_s
        if used_s < _AT_ONCE_S:
            return
        rest_s = min(used_s / _SHARE - (self._now_s() - since_s), self._left_s)
        if rest_s > 0:
            self._left_s -= rest_s
            self._sleep(rest_s)
        self._began = self._used_s(), self._now_s()


def unhurried(policy: Policy, seen: Observation, memory: object) -> tuple[Decision, object]:
    """Return what a policy decides, its simulations with rests between them; called in a thread of its own."""
    with pausing(Rests()):
        return policy(seen, memory)
