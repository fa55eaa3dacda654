"""One batch size for all members of a live ensemble: they are asked about the same batch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from guidevane.control.analytic import BUSIEST, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from guidevane.control.site import Site
    from guidevane.control.table import Table

_DEARER: Final = 0.04
"""A larger batch, which saves the rooms calls, may cost this share of the objective in service time."""


def one_batch(
    graph: Graph,
    judge: Table,
    settings: Sequence[Setting],
    site: Site,
    *,
    rate_per_s: float,
    dispersion: float,
    before: int,
) -> tuple[int, tuple[Setting, ...]]:
    """Return one batch size for all members, and the settings with it, with the replicas that bear the rate so.

    Of the sizes that the plan has, and the largest that hardly costs time, the one that misses least; of
    equals the largest, for each call costs the rooms that make it. What is in force (``before``) stays where it
    hardly costs more time than that, for nothing would be gained.
    """
    places = [graph.index[name] for name in site.names]
    members = _Members(graph, settings, places)
    allowed_s = _DEARER * site.slo_s
    # One member's plan may be larger than what was ever measured of another.
    planned = sorted({min(settings[at].batch, members.most) for at in places})
    larger = planned[-1]
    while members.dearer_s(planned[-1], 2 * larger) <= allowed_s:
        larger *= 2
    if larger < before and members.dearer_s(larger, before) <= allowed_s:
        larger = before
    candidates = sorted({*planned, larger})
    judged = []
    for size in candidates:
        tried = members.at(size, rate_per_s)
        miss = judge.miss(tried, rate_per_s, dispersion) if len(candidates) > 1 else 0.0
        judged.append((max(miss, site.epsilon / 4), sum(tried[at].replicas for at in places), -size, tried))
    _, _, size, chosen = min(judged, key=lambda each: each[:3])
    return -size, chosen


class _Members:
    """The members' part of a configuration."""

    def __init__(self, graph: Graph, settings: Sequence[Setting], places: Sequence[int]) -> None:
        self.graph, self.settings, self.places = graph, settings, places
        self.profiles = [graph.stages[at].on(settings[at].hardware).profile for at in places]

    @property
    def most(self) -> int:
        """The largest batch that was measured of every member."""
        return min(each.most for each in self.profiles)

    def dearer_s(self, batch: int, larger: int) -> float:
        """Return how much longer a larger batch takes, of who is delayed most; infinite where none was measured."""
        if larger > self.most:
            return math.inf
        return max(each.latency_s(larger) - each.latency_s(min(batch, each.most)) for each in self.profiles)

    def at(self, batch: int, rate_per_s: float) -> tuple[Setting, ...]:
        """Return the configuration with this batch, and with as many more replicas as it needs to bear the rate."""
        found = list(self.settings)
        for at in self.places:
            found[at] = replace(found[at], batch=batch)
            while load(self.graph.stages[at], found[at], rate_per_s) > BUSIEST:
                found[at] = replace(found[at], replicas=found[at].replicas + 1)
        return tuple(found)
