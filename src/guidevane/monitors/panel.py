"""The monitors of one source side by side: a batch is shown to each of them, in the way it takes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from guidevane.monitors.monitor import Columnar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.events import Alert
    from guidevane.monitors.monitor import Batch, Monitor


class Panel:
    """The monitors of one source, in the order in which they were declared."""

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self.monitors = tuple(monitors)
        # Found out once: looking for a protocol takes longer than most monitors take for an event.
        self._columnar = [monitor if isinstance(monitor, Columnar) else None for monitor in monitors]
        columnar = [each for each in self._columnar if each is not None]
        self.fields = tuple(dict.fromkeys(field for each in columnar for field in each.fields))
        """What those of them read that take columns; the others are shown events whole."""

    def show(self, batch: Batch) -> list[tuple[int, Alert]]:
        """Return what there is to say, with its event's place: event by event, and of one event in declared order."""
        if not len(batch):
            return []
        whole = cache(batch.seen)
        found: list[tuple[int, Alert]] = []
        for monitor, columnar in zip(self.monitors, self._columnar, strict=True):
            if columnar is not None:
                found += columnar.observe_all(batch)
            else:
                found += [(at, alert) for at in range(len(batch)) if (alert := monitor.observe(whole(at))) is not None]
        return sorted(found, key=lambda each: each[0])
