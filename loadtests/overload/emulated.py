"""One slow member that takes tiles of rows, and a quick one beside it."""

from __future__ import annotations

from guidevane import Degrade, Ensemble, Latency, Member, Pipeline, Threshold
from loadtests.emulated import FEATURES, Emulated, event

TILE, TILE_S = 8, 0.016


def slow() -> Emulated:
    """Return the member that is overrun: each tile takes its time."""
    return Emulated(TILE_S)


def quick() -> Emulated:
    """Return the member that answers at once."""
    return Emulated(0.0)


def _member(name: str, tile: int) -> Member:
    return Member(name, f"loadtests.overload.emulated:{name}", tile=tile, num_cpus=0.1, warm_up=(1,))


pipeline = Pipeline(
    name="overload",
    event=event("overload.reading"),
    features=FEATURES,
    ensemble=Ensemble([_member("slow", TILE), _member("quick", 64)], quorum=2),
    decision=Threshold(0.4),
    slo=Latency(within_ms=300),
    degrade=Degrade(level=1),
)
