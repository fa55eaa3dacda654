"""One objective shared out among the stages: the cheapest choice of one option each, where latencies add up on a way.

A dynamic program over what is left of the objective says, for each way through the graph, what its remaining stages
cost at least; a best-first search guided by that (A*: Hart, Nilsson and Raphael, 1968) tells choices cheapest first,
without looking at the product of all options, which ten stages with a choice of three have 59,049 of.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from guidevane.control.queues import Times

_BINS, _ROUNDING_S = 512, 1e-9
_MOST_WAYS = 64


@dataclass(frozen=True, slots=True)
class Option:
    """What a stage may run on, its cost, and the time (seconds) that an event is taken to spend there."""

    setting: Setting
    usd_per_hour: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Way:
    """Stages (their places in the graph) that events pass one after the other, and what hops leave them in seconds."""

    stages: tuple[int, ...]
    left_s: float


class Choices:
    """The choices of one option per stage that fit into all of ``ways``, cheapest first.

    ``bound_usd``: what any choice that was not told yet costs at least; infinite once all were told. Who has extended
    ``most`` partial choices stops there, and the bound says how far that was.
    """

    def __init__(self, options: Sequence[Sequence[Option]], ways: Sequence[Way], *, most: int = 20_000) -> None:
        """Prepare. ``options``: per stage in the graph's order, at least one each."""
        self.options, self.most = options, most
        slowest = [max(each.latency_s for each in stage) for stage in options]
        # A way that nobody can overrun binds nobody.
        self.ways = [way for way in ways if sum(slowest[at] for at in way.stages) > way.left_s]
        self._usd = [np.array([each.usd_per_hour for each in stage]) for stage in options]
        self._latency_s = [np.array([each.latency_s for each in stage]) for stage in options]
        self._bin_s = np.array([max(way.left_s, _ROUNDING_S) / _BINS for way in self.ways])
        on = [[at in way.stages for way in self.ways] for at in range(len(options))]
        self._on = np.array(on, dtype=np.float64).reshape(len(options), len(self.ways))
        self._least = self._backwards()
        self.bound_usd = float(self._cheapest[0])

    def __iter__(self) -> Iterator[tuple[float, tuple[Option, ...]]]:
        """Yield $ an hour and the options, by stage."""
        ties = count()
        left = np.array([way.left_s for way in self.ways])
        heap: list[tuple[float, int, int, float, tuple[int, ...], Times]]
        heap = [(float(self._rest(0, left[None])[0]), 0, next(ties), 0.0, (), left)]
        for _ in range(self.most):
            if not heap or heap[0][0] == math.inf:
                self.bound_usd = math.inf
                return
            usd, _, _, spent, chosen, left = heapq.heappop(heap)
            self.bound_usd = usd
            at = len(chosen)
            if at == len(self.options):
                yield usd, tuple(stage[each] for stage, each in zip(self.options, chosen, strict=True))
                continue
            after = left - self._latency_s[at][:, None] * self._on[at]
            so_far = spent + self._usd[at]
            # Prices are round: of what costs the same, the one that is nearest to its end goes first.
            whole = np.round(so_far + self._rest(at + 1, after), 9)
            for each in np.flatnonzero(whole < math.inf):
                extended = (float(so_far[each]), (*chosen, int(each)), after[each])
                heapq.heappush(heap, (float(whole[each]), -at, next(ties), *extended))

    def _rest(self, at: int, left_s: Times) -> Times:
        """Return what the stages from ``at`` on cost at least, for each row of what is left of each way."""
        if not self.ways:
            return np.full(len(left_s), self._cheapest[at])
        bins = np.clip(np.ceil((left_s + _ROUNDING_S) / self._bin_s), 0, _BINS).astype(np.int64)
        rest: Times = self._least[at][np.arange(len(self.ways)), bins].max(axis=1)
        # A rounding of sums is no overrun.
        rest[(left_s < -_ROUNDING_S).any(axis=1)] = math.inf
        return rest

    def _backwards(self) -> list[Times]:
        """Return, for each stage to go on from, the least cost of the rest: float64[ways, what is left in bins].

        Latencies are rounded down and what is left is rounded up: never more than the true cost.
        """
        least = [np.zeros((len(self.ways), _BINS + 1))]
        self._cheapest = [0.0]
        for at in range(len(self.options) - 1, -1, -1):
            after = least[-1]
            best = after + self._usd[at].min()
            self._cheapest.append(self._cheapest[-1] + float(self._usd[at].min()))
            for number in np.flatnonzero(self._on[at]):
                best[number] = math.inf
                takes = np.floor(self._latency_s[at] / self._bin_s[number])
                for usd, bins in zip(self._usd[at], takes, strict=True):
                    if bins <= _BINS:
                        rest = after[number, : _BINS + 1 - int(bins)] + usd
                        best[number, int(bins) :] = np.minimum(best[number, int(bins) :], rest)
            least.append(best)
        self._cheapest.reverse()
        return least[::-1]


def bounding(graph: Graph, slo_s: float, rare: float) -> list[Way]:
    """Return ways on which more than a share ``rare`` (0-1) of the events go, and wait for every stage of.

    What leads to a quorum is not among them: nobody need wait for it.
    """
    awaited = [at for at, name in enumerate(graph.names) if name not in graph.before_quorums]
    edges = [at for at, edge in enumerate(graph.edges) if not {edge.before, edge.after} & graph.before_quorums]
    return _ways(graph, awaited, edges, slo_s, rare)


def usual(graph: Graph, slo_s: float, rare: float) -> list[Way]:
    """Return the ways of more than a share ``rare`` of the events; to a quorum, those of its fastest members."""
    fastest = [min(hw.profile.fastest_s for hw in stage.hardware) for stage in graph.stages]
    done: list[float] = []
    edges: list[int] = []
    for stage, latency_s in zip(graph.stages, fastest, strict=True):
        into = sorted(
            (done[graph.index[graph.edges[edge].before]] + graph.hop_s, edge)
            for edge in graph.into(stage.name)
            if graph.edges[edge].share > 0
        )
        waited = into[: graph.quorum.get(stage.name, len(into))]
        edges += [edge for _, edge in waited]
        done.append(latency_s + (waited[-1][0] if waited else 0.0))
    return _ways(graph, range(len(graph.stages)), edges, slo_s, rare)


def _ways(graph: Graph, stages: Sequence[int], edges: Sequence[int], slo_s: float, rare: float) -> list[Way]:
    """Return the longest ways along ``edges``; at most 64 of them."""
    found: list[Way] = []
    entered = {graph.index[graph.edges[edge].after] for edge in edges}
    open_ways: list[tuple[tuple[int, ...], float]] = [
        ((at,), graph.visits[at]) for at in stages if at not in entered and graph.visits[at] > rare
    ]
    while open_ways and len(found) < _MOST_WAYS:
        way, share = open_ways.pop()
        further = [
            ((*way, graph.index[graph.edges[edge].after]), share * graph.edges[edge].share)
            for edge in edges
            if graph.edges[edge].before == graph.names[way[-1]] and share * graph.edges[edge].share > rare
        ]
        open_ways += further
        if not further:
            found.append(Way(way, slo_s - graph.hop_s * (len(way) - 1)))
    return found
