"""Kubernetes' Horizontal Pod Autoscaler, v2, on utilisation (``replica_calculator.go``; the documented defaults).

Every 15 s: replicas = ceil(ready · utilisation / target), nothing within a tenth of the target. Pods that are starting
count as idle when it scales up. Up by at most 100 % or 4 pods per 15 s; down to the highest that was recommended within
300 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guidevane.control.plant import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.plant import Observation, Setting

SYNC_S = 15.0
TOLERANCE = 0.1
STABILISE_DOWN_S = 300.0
UP_PODS, UP_SHARE = 4, 1.0


def wanted(used: float, *, ready: int, pending: int, target: float) -> int:
    """Return the recommendation: ``used`` is what all ready pods use together, ``target`` what one should.

    >>> wanted(1.9, ready=2, pending=0, target=0.7)
    3
    >>> wanted(1.9, ready=2, pending=1, target=0.7)  # 1.9 / (3 · 0.7) = 0.905: within the tolerance
    3
    """
    current = ready + pending
    if ready == 0:
        return current
    ratio = used / (ready * target)
    if abs(ratio - 1) <= TOLERANCE:
        return current
    if ratio < 1 or pending == 0:
        return math.ceil(ratio * ready - 1e-9)
    # Starting pods use nothing yet: with them counted, the ratio must still ask for more.
    diluted = used / (current * target)
    if diluted < 1 or abs(diluted - 1) <= TOLERANCE:
        return current
    return max(current, math.ceil(diluted * current - 1e-9))


@dataclass(frozen=True, slots=True)
class Recent:
    """One stage's replicas, what was recommended lately (time, replicas), and the use since the last sync."""

    replicas: int
    recommended: tuple[tuple[float, int], ...] = ()
    used_s: float = 0.0


def bounded(now_s: float, was: Recent, recommendation: int, *, most: int) -> Recent:
    """Return the state after one sync: stabilised down, limited up.

    >>> bounded(15.0, Recent(3), 20, most=100).replicas
    7
    >>> bounded(30.0, Recent(9, ((15.0, 8),)), 2, most=100).replicas
    8
    """
    kept = tuple(each for each in was.recommended if each[0] > now_s - STABILISE_DOWN_S)
    recommended = (*kept, (now_s, recommendation))
    highest = max(each[1] for each in recommended)
    replicas = max(recommendation, min(highest, was.replicas))
    limit = max(was.replicas + UP_PODS, math.ceil(was.replicas * (1 + UP_SHARE)))
    return Recent(min(max(min(replicas, limit), 1), most), recommended)


@dataclass(frozen=True)
class HPA:
    """The autoscaler on every stage for itself, from a deployment ``start`` whose hardware and batches stay."""

    start: Mapping[str, Setting]
    target: float = 0.7
    max_replicas: int = 100

    def __call__(self, seen: Observation, memory: Mapping[str, Recent] | None) -> tuple[Action, Mapping[str, Recent]]:
        """Decide every 15 s for every stage."""
        before = memory or {name: Recent(max(each.replicas, 1)) for name, each in self.start.items()}
        after = {name: self.step(seen, name, recent) for name, recent in before.items()}
        settings = {name: replace(each, replicas=after[name].replicas) for name, each in self.start.items()}
        held = all(after[name].replicas == before[name].replicas for name in before)
        return Action(settings, f"HPA at {self.target:g} utilisation", held=held), after

    def step(self, seen: Observation, name: str, was: Recent) -> Recent:
        """Return one stage's state a tick later."""
        stage = seen.stage(name)
        used_s = was.used_s + stage.busy_s
        if seen.time_s == 0 or seen.time_s % SYNC_S != 0:
            return replace(was, used_s=used_s)
        asked = wanted(used_s / SYNC_S, ready=stage.ready, pending=len(stage.pending), target=self.target)
        return bounded(seen.time_s, was, asked, most=self.max_replicas)
