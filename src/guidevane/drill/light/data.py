"""Readings to send, as an example's recorded data are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.drill.light import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READINGS, _METERS = 4096, 48


@dataclass(frozen=True, slots=True)
class Readings:
    """Values between 0 and 100, from four dozen meters."""

    values: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many different readings there are."""
        return len(self.values)

    def event(self, index: int, *, event_id: str, observed_at_us: int, replay: str) -> dict[str, Any]:
        """Return one reading under this id; meters do not say when they were read, so any replay is like another."""
        del observed_at_us, replay
        return reading(event_id, f"meter-{index % _METERS}", float(self.values[index]))

    def label(self, index: int) -> float:
        """Return whether it was low."""
        return float(self.values[index] < 50.0)  # noqa: PLR2004 - as the member says

    def label_delay_s(self, rate_per_s: float) -> float:
        """Return when somebody has looked: two seconds later."""
        del rate_per_s
        return 2.0


def load() -> Readings:
    """Return the same readings each time."""
    return Readings(np.random.default_rng(4).uniform(0.0, 100.0, _READINGS).round(3))
