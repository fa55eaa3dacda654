"""A pipeline whose members take as long as an accelerator would: *emulated*, not measured on one.

A replica (``deploying.py``) waits for the time of a batch, and the next batch for it, as where an accelerator is busy.
Each takes a fiftieth of a core, so that as many run beside each other as a small cluster would have.

Latencies are long and rates low: what two cores add of their own (``idle`` in the results) is to be small beside them.
"""

from __future__ import annotations

from typing import Any

from guidevane import Ensemble, Latency, Member, Pipeline, Threshold, WeightedMean
from loadtests import emulated

SLO_MS = 2000.0
LATENCY_S = {"quick": (0.040, 0.008), "deep": (0.150, 0.150)}
"""Of a batch: fixed, and for each row."""
CPUS = 0.02
MOST = 12
"""Replicas that a member may have."""
STARTUP_S = 8.0
_SIZES = (1, 2, 4, 8)
_ROOMS_MS = {"1": 1.0, "64": 8.0}


def quick() -> emulated.Emulated:
    """Return the quick member."""
    return emulated.Emulated(*LATENCY_S["quick"])


def deep() -> emulated.Emulated:
    """Return the slow member."""
    return emulated.Emulated(*LATENCY_S["deep"])


pipeline = Pipeline(
    name="emulated",
    event=emulated.event("emulated.tick"),
    features=emulated.FEATURES,
    ensemble=Ensemble(
        members=tuple(
            Member(name, model=f"loadtests.live.emulated:{name}", tile=1, num_cpus=CPUS, warm_up=(1,))
            for name in LATENCY_S
        ),
        combine=WeightedMean((0.5, 0.5)),
    ),
    decision=Threshold(at=0.4),
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
        return emulated.observed(index, event_id, observed_at_us)

    def label(self, index: int) -> float:
        """Return what turned out to be true: nothing that anybody predicts."""
        return float(index % 2)

    def label_delay_s(self, rate_per_s: float) -> float:
        """Return when labels come."""
        del rate_per_s
        return 1.0


def graph(way_ms: float = 30.0) -> dict[str, Any]:
    """Return the pipeline for the simulator (``loadtests/steering/README.md``).

    ``way_ms`` is what an event's way takes besides the members, where nothing waits.
    """
    stages: dict[str, Any] = {
        name: {
            "latency_ms": {str(size): 1e3 * (fixed + row * size) for size in _SIZES},
            "price_usd_per_hour": 1.0, "startup_s": STARTUP_S,
        }
        for name, (fixed, row) in LATENCY_S.items()
    }  # fmt: skip
    rooms = {"latency_ms": _ROOMS_MS, "price_usd_per_hour": 0.01, "startup_s": 1.0, "partitions": 1}
    edges = [["rooms", name] for name in stages]
    return {"stages": {"rooms": rooms, **stages}, "edges": edges, "hop_ms": way_ms, "jitter": 0.01}
