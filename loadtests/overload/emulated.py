"""Members that take time and no CPU: emulated, and called so; the pipeline that they serve."""

from __future__ import annotations

import time

import numpy as np

from guidevane import Degrade, Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold

TILE_S = 0.016
TILE = 8


class Emulated:
    """Answers one tile of rows after ``TILE_S``, whoever else uses the machine."""

    version = "emulated-1"

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the same score for everybody."""
        time.sleep(TILE_S)
        return np.full(len(matrix), 0.75)


class Quick:
    """Answers at once."""

    version = "emulated-quick-1"

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the same score for everybody."""
        return np.full(len(matrix), 0.25)


READING = {
    "type": "record",
    "name": "overload.reading",
    "fields": [
        {"name": "sensor", "type": "string"},
        {"name": "value", "type": "double"},
        {"name": "at_us", "type": "long"},
        {"name": "site", "type": "string"},
    ],
}
pipeline = Pipeline(
    name="overload",
    event=Event("overload.reading.v1", schema=READING, key="sensor", time="at_us", protected=("site",)),
    features=[Numeric("value")],
    ensemble=Ensemble(
        [
            Member("slow", "loadtests.overload.emulated:Emulated", tile=TILE, num_cpus=0.1, warm_up=(1,)),
            Member("quick", "loadtests.overload.emulated:Quick", num_cpus=0.1, warm_up=(1,)),
        ],
        quorum=2,
    ),
    decision=Threshold(0.5),
    slo=Latency(within_ms=300),
    degrade=Degrade(level=1),
)
