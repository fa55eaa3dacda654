"""What the benches on a real Ray have in common: members that take time and compute nothing, and events for them.

They are *emulated*: nothing here was measured on an accelerator.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane import Event, Numeric

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Emulated:
    """Answers a batch after ``fixed_s``, and ``per_row_s`` for each of its rows, whoever else uses the machine."""

    version = device = "emulated"

    def __init__(self, fixed_s: float, per_row_s: float = 0.0) -> None:
        self.fixed_s, self.per_row_s = fixed_s, per_row_s

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return one half for each row, after the time of the batch."""
        time.sleep(self.fixed_s + self.per_row_s * len(matrix))
        return np.full(len(matrix), 0.5)


FEATURES = (Numeric("value"),)


def event(name: str) -> Event:
    """Return the contract of events that say when and where they are from, and a value that nobody looks at."""
    fields = {"id": "string", "key": "string", "at_us": "long", "value": "double", "site": "string"}
    typed = [{"name": each, "type": kind} for each, kind in fields.items()]
    schema: dict[str, Any] = {"type": "record", "name": name, "fields": typed}
    return Event(f"{name}.v1", schema=schema, key="key", id="id", time="at_us", protected=("site",))


def observed(index: int, event_id: str, at_us: int) -> dict[str, Any]:
    """Return one event; one in four is from the south."""
    site = "north" if index % 4 else "south"
    return {"id": event_id, "key": f"k{index % 997}", "at_us": at_us, "value": float(index % 7), "site": site}
