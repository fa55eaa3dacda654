"""Coarse-grained provisioning, InferLine's own baseline: the whole pipeline is one unit, replicated as a whole.

A unit is one replica of every model on its fastest hardware, all with one batch size: the one of highest throughput
whose batches, one after another along the longest way, still end within the objective. Units = ceil(rate / a unit's
throughput), for the mean rate of the run or for the peak over windows as long as the objective.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.plant import Setting

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from loadtests.steering.baselines.inferline import Plan
    from loadtests.steering.plant.columns import Floats


def unit(graph: Graph, slo_s: float) -> tuple[Plan, float]:
    """Return one unit, and the events per second that it bears."""
    fastest = [min(each.hardware, key=lambda hw: hw.profile.latency_s(1)) for each in graph.stages]
    best: tuple[float, int] = (0.0, 1)
    for batch in range(1, min(hw.profile.most for hw in fastest) + 1):
        if batch > 1 and graph.path_s([hw.profile.latency_s(batch) for hw in fastest]) > slo_s:
            break
        borne = [
            hw.profile.throughput(batch) / visits
            for hw, visits in zip(fastest, graph.visits, strict=True)
            if visits > 0
        ]
        best = max(best, (min(borne), batch))
    plan = {each.name: Setting(hw.name, 1, best[1]) for each, hw in zip(graph.stages, fastest, strict=True)}
    return plan, best[0]


def peak_rate(arrivals_s: Floats, window_s: float) -> float:
    """Return the highest rate over windows that begin with an arrival, events per second.

    >>> peak_rate(np.array([0.0, 0.1, 0.2, 5.0]), 0.5)
    6.0
    """
    inside = np.searchsorted(arrivals_s, arrivals_s + window_s) - np.arange(arrivals_s.size)
    return float(inside.max()) / window_s


def coarse(graph: Graph, slo_s: float, rate_per_s: float) -> Plan:
    """Return as many units as a rate asks for."""
    plan, borne = unit(graph, slo_s)
    units = max(math.ceil(rate_per_s / borne - 1e-9), 1)
    return {name: Setting(each.hardware, units, each.batch) for name, each in plan.items()}
