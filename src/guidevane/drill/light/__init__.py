"""A pipeline that weighs little, for faults that are not about models: meters read, two members, no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.combiners import WeightedMean
from guidevane.decision import Threshold
from guidevane.ensemble import Ensemble, Member
from guidevane.event import Event
from guidevane.features import Numeric
from guidevane.pipeline import Pipeline
from guidevane.slo import Latency

if TYPE_CHECKING:
    from numpy.typing import NDArray

READING = {
    "type": "record",
    "name": "drill.reading",
    "fields": [
        {"name": "reading_id", "type": "string"},
        {"name": "meter", "type": "string"},
        {"name": "value", "type": "double"},
    ],
}


class Low:
    """Says whether a reading is low."""

    version = "1"

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n]."""
        return np.where(matrix[:, 0] < 50.0, 0.9, 0.1)  # noqa: PLR2004 - the middle of the range


class Smooth:
    """Says how low it is."""

    version = "1"

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n]."""
        return np.asarray(1 / (1 + np.exp((matrix[:, 0].astype(np.float64) - 50.0) / 10.0)))


pipeline = Pipeline(
    name="drill",
    event=Event(
        "drill.reading.v1", schema=READING, key="meter", id="reading_id", pii=("meter",), ranges={"value": (0, 100)}
    ),
    features=(Numeric("value"),),
    ensemble=Ensemble(
        members=(
            Member("low", model="guidevane.drill.light:Low", num_cpus=0.1),
            Member("smooth", model="guidevane.drill.light:Smooth", num_cpus=0.1),
        ),
        combine=WeightedMean(),
    ),
    decision=Threshold(0.5, positive="low", negative="high"),
    slo=Latency(p=0.99, within_ms=500),
    partitions=4,
)


def reading(event_id: str, meter: str, value: float) -> dict[str, Any]:
    """Return one event. A value beyond 100 breaks the contract, and dies of ``out_of_range``."""
    return {"reading_id": event_id, "meter": meter, "value": value}
