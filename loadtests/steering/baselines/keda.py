"""KEDA's Kafka scaler at its defaults (``kafka_scaler.go``): lag over a threshold of 10, through the HPA it makes.

Every 30 s the lag (events not committed: waiting and in hand) is read; replicas = ceil(lag / threshold), never more
than partitions. The HPA's own rules stand behind: tolerance, growth by 100 % or 4 pods per 15 s, 300 s before
going down (the same 300 s as KEDA's cool-down, which alone decides about zero; here one replica always stays).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guidevane.control.plant import Action
from loadtests.steering.baselines.hpa import SYNC_S, TOLERANCE, Recent, bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.plant import Observation, Setting

POLL_S = 30.0
PARTITIONS = 60
"""Where a graph says nothing of partitions: the highest count that Guidevane's own topics use."""


def wanted(lag: float, *, replicas: int, threshold: float, partitions: int) -> int:
    """Return what an average of ``threshold`` events of lag a replica asks for.

    >>> wanted(34, replicas=2, threshold=10, partitions=60), wanted(2000, replicas=2, threshold=10, partitions=60)
    (4, 60)
    >>> wanted(21, replicas=2, threshold=10, partitions=60)  # 1.05 of the target: within the tolerance
    2
    """
    if abs(lag / (replicas * threshold) - 1) <= TOLERANCE:
        return replicas
    return min(math.ceil(lag / threshold), partitions)


@dataclass(frozen=True, slots=True)
class Polled:
    """One stage's replicas and recommendations, and the lag at the last poll."""

    recent: Recent
    lag: float | None = None


@dataclass(frozen=True)
class KEDA:
    """The scaler on every stage for itself, from a deployment ``start`` whose hardware and batches stay."""

    start: Mapping[str, Setting]
    threshold: float = 10.0
    partitions: int = PARTITIONS

    def __call__(self, seen: Observation, memory: Mapping[str, Polled] | None) -> tuple[Action, Mapping[str, Polled]]:
        """Poll every 30 s, decide every 15 s."""
        before = memory or {name: Polled(Recent(max(each.replicas, 1))) for name, each in self.start.items()}
        after = {name: self.step(seen, name, polled) for name, polled in before.items()}
        settings = {name: replace(each, replicas=after[name].recent.replicas) for name, each in self.start.items()}
        held = all(after[name].recent.replicas == before[name].recent.replicas for name in before)
        return Action(settings, f"KEDA at lag {self.threshold:g}", held=held), after

    def step(self, seen: Observation, name: str, was: Polled) -> Polled:
        """Return one stage's state a tick later."""
        stage, now = seen.stage(name), seen.time_s
        lag = float(stage.queue + stage.in_service) if now > 0 and now % POLL_S == 0 else was.lag
        if lag is None or now % SYNC_S != 0:
            return replace(was, lag=lag)
        asked = wanted(lag, replicas=was.recent.replicas, threshold=self.threshold, partitions=self.partitions)
        return Polled(bounded(now, was.recent, asked, most=self.partitions), lag)
