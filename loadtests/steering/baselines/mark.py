"""MArk-style proactive scaling (Zhang et al., ATC 2019, as Faro re-implements it): replicas for a predicted peak rate.

Every 10 s the rate is predicted for when a launch would be up: the highest 10 s rate of the last minute, or the line
through the last minute's 10 s rates extended by the longest start-up, whichever is higher. A stage gets
ceil(rate · visits / (throughput at its batch · 0.8)) replicas at once; it gives replicas back when the prediction has
been lower for 60 s. MArk predicts with an LSTM, which needs days of history; with an hour this is what remains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.plant import Action
from loadtests.steering.baselines.inferline import capacity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Observation, Setting

EVERY_S, WINDOW, KEEP_S, BUSY = 10, 6, 60.0, 0.8


def predicted(rates: Sequence[float], ahead_s: float) -> float:
    """Return the rate to be ready for: ``rates`` of the last 10 s windows, oldest first.

    >>> predicted([10.0, 20.0, 30.0], ahead_s=20.0)
    50.0
    >>> predicted([30.0, 20.0, 10.0], ahead_s=20.0)
    30.0
    """
    highest = max(rates)
    if len(rates) < WINDOW // 2:
        return highest
    slope, level = np.polyfit(np.arange(len(rates)) * EVERY_S, rates, 1)
    return max(highest, float(round(level + slope * ((len(rates) - 1) * EVERY_S + ahead_s), 9)))


@dataclass(frozen=True, slots=True)
class Seen:
    """Counts of the window now, rates of those before, what was predicted when, and replicas."""

    replicas: Mapping[str, int]
    count: int = 0
    rates: tuple[float, ...] = ()
    predictions: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class MArk:
    """The policy, from a deployment ``start`` whose hardware and batches stay."""

    graph: Graph
    start: Mapping[str, Setting]
    busy: float = BUSY

    def __call__(self, seen: Observation, memory: Seen | None) -> tuple[Action, Seen]:
        """Predict every 10 s."""
        was = memory or Seen({name: each.replicas for name, each in self.start.items()})
        count, now = was.count + sum(seen.counts), seen.time_s
        if now == 0 or now % EVERY_S != 0:
            after = replace(was, count=count)
        else:
            rates = (*was.rates, count / EVERY_S)[-WINDOW:]
            ahead_s = max(self.graph.stage(name).on(each.hardware).startup_s for name, each in self.start.items())
            recent = tuple(each for each in was.predictions if each[0] > now - KEEP_S)
            predictions = (*recent, (now, predicted(rates, ahead_s)))
            one = capacity(self.graph, {name: replace(each, replicas=1) for name, each in self.start.items()})
            rate = max(each[1] for each in predictions)
            replicas = {name: max(math.ceil(rate / (self.busy * one[name]) - 1e-9), 1) for name in self.start}
            after = Seen(replicas, 0, rates, predictions)
        settings = {name: replace(each, replicas=after.replicas[name]) for name, each in self.start.items()}
        return Action(settings, "predicted peak", held=after.replicas == was.replicas), after
