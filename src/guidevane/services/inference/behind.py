"""How long an answer is on its way once its members have answered: what a room does not have left for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from guidevane.services.inference.triage import Knobs

# Of what is longer than believed a fifth is believed at once, of what is shorter a fiftieth: what is longer weighs ten
# times as much (the expectile of 10/11), for it makes answers late, and what is shorter only leaves a member out.
_UP: Final = 0.2
_DOWN: Final = 0.02
_MOST: Final = 0.2
"""Of the objective: a log that takes longer is not made up for by leaving members out."""


class Behind:
    """``s`` is what is told (``Knobs.behind_s``), and what the log takes, as this worker's last answers took it.

    ``rooms`` is how many more rooms write behind this one. ``slo_s`` is the objective.
    """

    def __init__(self, knobs: Knobs, *, slo_s: float, rooms: int = 0) -> None:
        self._knobs = knobs
        self._most_s = _MOST * slo_s
        self._writes = 1 + rooms
        self._took_s = 0.0

    @property
    def s(self) -> float:
        """Return the seconds."""
        return self._knobs.behind_s + min(self._writes * self._took_s, self._most_s)

    def learn(self, took_s: float) -> None:
        """Take note of how long the log took to make a batch of answers durable."""
        more_s = took_s - self._took_s
        self._took_s += more_s * (_UP if more_s > 0 else _DOWN)
