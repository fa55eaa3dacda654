"""What helps at once, while replicas are still starting or none are wanted: larger batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from guidevane.control.trial import batch_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Observation, Setting

OF_OBJECTIVE = 0.9
"""No batch is taken with which an event is longer on its way than this share of the objective, without any wait."""
_BUSIEST = 0.95


def bridged(
    graph: Graph, settings: Sequence[Setting], seen: Observation, rate_per_s: float, slo_s: float
) -> tuple[Setting, ...]:
    """Return settings with larger batches at stages whose replicas that serve now do not bear the rate."""
    ready = [
        min(seen.stage(stage.name).ready, setting.replicas)
        for stage, setting in zip(graph.stages, settings, strict=True)
    ]
    return stretched(graph, settings, ready, rate_per_s, slo_s)


def stretched(
    graph: Graph, settings: Sequence[Setting], ready: Sequence[int], rate_per_s: float, slo_s: float
) -> tuple[Setting, ...]:
    """Return settings with larger batches at stages whose ``ready`` replicas do not bear the rate (0: let it be).

    The smallest batch that bears it, else the one that bears most; of those that leave an event on the
    longest way, in full batches everywhere, within 90 % of the objective. A stage whose plan has
    a larger batch keeps that.
    """
    found = list(settings)
    for at, stage in enumerate(graph.stages):
        setting = settings[at]
        profile = stage.on(setting.hardware).profile
        needs = rate_per_s * graph.visits[at] / _BUSIEST
        if ready[at] == 0 or ready[at] * profile.throughput(setting.batch) >= needs:
            continue
        larger = [each for each in batch_sizes(stage, setting.hardware) if each > setting.batch]
        fits = [
            each
            for each in larger
            if way_s(graph, [*found[:at], replace(setting, batch=each), *found[at + 1 :]]) <= slo_s * OF_OBJECTIVE
        ]
        bears = [each for each in fits if ready[at] * profile.throughput(each) >= needs]
        best = bears[0] if bears else max((setting.batch, *fits), key=profile.throughput)
        found[at] = replace(setting, batch=best)
    return tuple(found)


def way_s(graph: Graph, settings: Sequence[Setting]) -> float:
    """Return how long an event is on the longest way, in full batches."""
    return graph.path_s(
        [
            stage.on(each.hardware).profile.latency_s(each.batch)
            for stage, each in zip(graph.stages, settings, strict=True)
        ]
    )
