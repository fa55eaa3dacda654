"""The one door to River: its ADWIN, with a state that can be written down.

Importing River takes seconds, and the rooms of the hot path live without it: only ``watch`` comes here.
"""

from __future__ import annotations

import base64
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from river.drift import ADWIN

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guidevane.monitors.monitor import State


class Change(NamedTuple):
    """The mean on either side of the cut that ADWIN made, and how many values each rests on."""

    before: float
    after: float
    before_n: int
    after_n: int


class Adwin:
    """A mean that notices when it changes (Bifet and Gavaldà, SDM 2007), over values between 0 and 1.

    ``delta`` bounds the chance of a false cut at each check, for independent values. After a change it starts afresh.

    >>> adwin = Adwin(delta=0.002)
    >>> changes = [adwin.update(value) for value in [0.1] * 500 + [0.9] * 500]
    >>> next(change for change in changes if change).after > 0.5
    True
    """

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self._fresh()

    def _fresh(self) -> None:
        self._detector = ADWIN(delta=self._delta)
        self._take: Callable[[float], bool] = self._detector._helper.update  # noqa: SLF001 - one call less, twice an event
        self._n = 0
        self._sum = 0.0

    def update(self, value: float) -> Change | None:
        """Take the next value; return the change where it shows one."""
        self._n += 1
        self._sum += value
        # What River's wrapper does at each value but to begin anew after a change, as we do ourselves.
        return self._cut() if self._take(value) else None

    def update_all(self, values: Sequence[float]) -> list[tuple[int, Change]]:
        """Take many values; return each change with the place of the value that showed it."""
        found: list[tuple[int, Change]] = []
        take, total, start = self._take, self._sum, 0
        for at, value in enumerate(values, start=1):
            # One after the other, as above: a sum of all at once is another one in the last bit.
            total += value
            if take(value):
                self._n, self._sum = self._n + at - start, total
                found.append((at - 1, self._cut()))
                take, total, start = self._take, self._sum, at
        self._n, self._sum = self._n + len(values) - start, total
        return found

    def _cut(self) -> Change:
        detector = self._detector
        # ADWIN keeps only what lies behind the cut: what lies before it is the rest of our own sum.
        after_n = int(detector.width)
        before_n = self._n - after_n
        before = (self._sum - detector.total) / before_n if before_n else detector.estimation
        change = Change(before, detector.estimation, before_n, after_n)
        self._fresh()
        return change

    def state(self) -> State:
        """Return River's own serialisation of the window, exact to the bit, and the River that wrote it."""
        window: bytes = self._detector._helper.__getstate__()  # noqa: SLF001 - the wrapper has no state of its own
        return {"river": _RIVER, "n": self._n, "sum": self._sum, "window": base64.b64encode(window).decode()}

    def restore(self, state: State) -> None:
        """Go on from ``state``. Raises ``Misconfigured`` where another River wrote it: its layout is its own."""
        if state["river"] != _RIVER:
            raise Misconfigured(
                f"the monitors' state was written by river {state['river']}, this is {_RIVER}: "
                "install that version, give the monitor a new name=..., or remove the state to have it rebuilt"
            )
        self._fresh()
        self._n, self._sum = state["n"], state["sum"]
        self._detector._helper.__setstate__(base64.b64decode(state["window"]))  # noqa: SLF001 - as above


_RIVER = version("river")
