"""A pipeline whose members take as long as an accelerator would, and compute nothing: *emulated*, not measured on one.

A replica (``deploying.py``) waits for the time of a batch, and the next batch for it, as where an accelerator is busy.
Each takes a fiftieth of a core, so that as many run beside each other as a small cluster would have.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane import Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold, WeightedMean

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLO_MS = 500.0
LATENCY_S = {"quick": (0.010, 0.002), "deep": (0.040, 0.015)}
"""Of a batch: fixed, and for each row."""
CPUS = 0.02
_HOP_MS, _ROOMS_MS = 15.0, {"1": 1.0, "64": 8.0}
_STARTUP_S = 8.0


class _Emulated:
    version = device = "emulated"

    def __init__(self, name: str) -> None:
        self.fixed_s, self.per_row_s = LATENCY_S[name]

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return one half for each row, after the time of the batch."""
        time.sleep(self.fixed_s + self.per_row_s * len(matrix))
        return np.full(len(matrix), 0.5)


def quick() -> _Emulated:
    """Return the quick member."""
    return _Emulated("quick")


def deep() -> _Emulated:
    """Return the slow member."""
    return _Emulated("deep")


TICK = {
    "type": "record",
    "name": "emulated.tick",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "key", "type": "string"},
        {"name": "at_us", "type": "long"},
        {"name": "value", "type": "double"},
    ],
}

pipeline = Pipeline(
    name="emulated",
    event=Event("emulated.tick.v1", schema=TICK, key="key", id="id", time="at_us"),
    features=(Numeric("value"),),
    ensemble=Ensemble(
        members=tuple(
            Member(name, model=f"loadtests.live.emulated:{name}", tile=1, num_cpus=CPUS, warm_up=(1,))
            for name in LATENCY_S
        ),
        combine=WeightedMean((0.5, 0.5)),
    ),
    decision=Threshold(at=0.5),
    slo=Latency(p=0.99, within_ms=SLO_MS),
)


class Ticks:
    """A source of events that say nothing but when they are from (``guidevane.demo.replay.Source``)."""

    def __len__(self) -> int:
        """Return how many different ones there are."""
        return 10_000

    def event(self, index: int, *, event_id: str, observed_at_us: int, replay: str) -> dict[str, Any]:
        """Return one event."""
        del replay
        return {"id": event_id, "key": str(index), "at_us": observed_at_us, "value": float(index % 7)}

    def label(self, index: int) -> float:
        """Return what turned out to be true: nothing that anybody predicts."""
        return float(index % 2)

    def label_delay_s(self, rate_per_s: float) -> float:
        """Return when labels come."""
        del rate_per_s
        return 1.0


def graph() -> dict[str, Any]:
    """Return the pipeline for the simulator (``loadtests/steering/README.md``)."""
    sizes = (1, 2, 4, 8, 16, 32)
    stages: dict[str, Any] = {
        name: {
            "latency_ms": {str(size): 1e3 * (fixed + row * size) for size in sizes},
            "price_usd_per_hour": 1.0, "startup_s": _STARTUP_S,
        }
        for name, (fixed, row) in LATENCY_S.items()
    }  # fmt: skip
    rooms = {"latency_ms": _ROOMS_MS, "price_usd_per_hour": 0.01, "startup_s": 1.0, "partitions": 1}
    return {"stages": {"rooms": rooms, **stages}, "edges": [["rooms", name] for name in stages], "hop_ms": _HOP_MS}
