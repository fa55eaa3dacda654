"""One batch size for all members of a live ensemble: they are asked about the same batch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from guidevane.control.analytic import BUSIEST, load
from guidevane.control.bridging import OF_OBJECTIVE, way_s
from guidevane.control.table import place

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
    feared_per_s: float,
    dispersion: float,
    before: int,
) -> tuple[int, tuple[Setting, ...]]:
    """Return one batch size for all members, and the settings with it, with the replicas that bear the rate so.

    A room puts together only what waits while replicas are busy, so a batch that is larger than what comes needs costs
    little, and one that is smaller makes a jump an overload at once: of the sizes that keep the objective at
    ``rate_per_s`` with the fewest replicas, the one that misses least where ``feared_per_s`` come; of equals the one
    that misses least now, then the largest, for each call costs the rooms that make it. What is in force (``before``)
    stays where it hardly costs more time than that, for nothing would be gained.
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
    bearable = [size for size in members.sizes() if members.way_s(size) <= OF_OBJECTIVE * site.slo_s]
    judged = []
    for size in sorted({*planned, *bearable, larger}):
        tried = members.at(size, rate_per_s)
        miss, feared = (judge.probed(tried, place(rate), dispersion) for rate in (rate_per_s, feared_per_s))
        replicas, none = sum(tried[at].replicas for at in places), site.epsilon / 4
        judged.append(((miss > site.epsilon, replicas, max(feared, none), max(miss, none), -size), tried))
    (*_, size), chosen = min(judged, key=lambda each: each[0])
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

    def sizes(self) -> list[int]:
        """Return the powers of two that were measured of every member."""
        return [2**power for power in range(self.most.bit_length())]

    def way_s(self, batch: int) -> float:
        """Return how long an event is on the longest way, in full batches of this size."""
        tried = list(self.settings)
        for at in self.places:
            tried[at] = replace(tried[at], batch=batch)
        return way_s(self.graph, tried)

    def at(self, batch: int, rate_per_s: float) -> tuple[Setting, ...]:
        """Return the configuration with this batch, and with as many more replicas as it needs to bear the rate."""
        found = list(self.settings)
        for at in self.places:
            found[at] = replace(found[at], batch=batch)
            while load(self.graph.stages[at], found[at], rate_per_s) > BUSIEST:
                found[at] = replace(found[at], replicas=found[at].replicas + 1)
        return tuple(found)
