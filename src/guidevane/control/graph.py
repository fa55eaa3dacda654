"""A pipeline as the controller sees it: stages with their hardware, the edges between them, joins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress, product
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guidevane.control.profile import Profile

_EXACT = 4096
_DRAWS = 65_536


@dataclass(frozen=True)
class Hardware:
    """One kind of hardware that a stage may run on: its profile, its price, how long a replica takes to start."""

    name: str
    profile: Profile
    price_usd_per_hour: float = 1.0
    startup_s: float = 20.0


@dataclass(frozen=True)
class Stage:
    """One model or one step of pre- and postprocessing, with the hardware it may run on.

    ``partitions``: where a stage consumes a topic, its replicas share that many partitions, each
    event belongs to one, and more replicas than partitions help nothing. 0: replicas share one queue.
    ``accuracy`` orders the members of a quorum, should one have to go.
    """

    name: str
    hardware: tuple[Hardware, ...]
    partitions: int = 0
    accuracy: float | None = None

    def on(self, name: str) -> Hardware:
        """Return one of the stage's kinds of hardware. Raises ``Misconfigured`` for others."""
        for each in self.hardware:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.hardware)
        raise Misconfigured(f"stage {self.name!r} has no hardware {name!r} → one of: {known}")


@dataclass(frozen=True, slots=True)
class Edge:
    """Events go from one stage to another: all of them, or a ``share`` (0-1)."""

    before: str
    after: str
    share: float = 1.0


@dataclass(frozen=True)
class Graph:
    """A feed-forward pipeline; ``stages`` in topological order.

    Every event enters every stage without incoming edges, at its arrival time. Edges out of a stage
    in ``exclusive`` are alternatives: an event takes one of them (or, for what their shares leave
    open, none). Other edges are independent draws. A stage with several incoming edges waits for
    those that the event took, or, with a ``quorum``, for that many of them (for all, where fewer were
    taken); who comes later is ignored, having cost its time. Each edge takes ``hop_s``. An event is
    over when each stage that it visited and left by no edge is done with it.

    >>> from guidevane.control.reading import read_graph
    >>> graph = read_graph({"stages": {"a": {"latency_ms": {"1": 10}}, "b": {"latency_ms": {"1": 30}}},
    ...                     "edges": [["a", "b", 0.5]]})
    >>> graph.visits, round(graph.floor_s, 3)
    ((1.0, 0.5), 0.044)
    """

    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...] = ()
    exclusive: frozenset[str] = frozenset()
    hop_s: float = 0.004
    quorum: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The stages' names, in topological order."""
        return tuple(each.name for each in self.stages)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Where each stage stands in ``stages``."""
        return MappingProxyType({name: at for at, name in enumerate(self.names)})

    def stage(self, name: str) -> Stage:
        """Return a stage by name. Raises ``Misconfigured`` for others."""
        if name not in self.index:
            raise Misconfigured(f"there is no stage {name!r} → one of: {', '.join(self.names)}")
        return self.stages[self.index[name]]

    def into(self, name: str) -> tuple[int, ...]:
        """Return the positions in ``edges`` of those that lead into a stage."""
        return self._into.get(name, ())

    def out_of(self, name: str) -> tuple[int, ...]:
        """Return the positions in ``edges`` of those that lead out of a stage."""
        return self._out_of.get(name, ())

    # A plan asks for these tens of thousands of times, about some ten graphs.
    @cached_property
    def _into(self) -> Mapping[str, tuple[int, ...]]:
        return _grouped(edge.after for edge in self.edges)

    @cached_property
    def _out_of(self) -> Mapping[str, tuple[int, ...]]:
        return _grouped(edge.before for edge in self.edges)

    @cached_property
    def _befores(self) -> tuple[tuple[int, ...], ...]:
        """For each stage, those that some event comes from, by their places."""
        return tuple(
            tuple(self.index[self.edges[edge].before] for edge in self.into(name) if self.edges[edge].share > 0)
            for name in self.names
        )

    @cached_property
    def _ends(self) -> tuple[bool, ...]:
        """For each stage, whether an event may end there."""
        return tuple(map(self._may_end, self.names))

    def take(self, uniforms: np.ndarray) -> np.ndarray:
        """Return which edges each event takes: bool[edges, events].

        ``uniforms`` is float64[edges, events] in [0, 1): an independent edge looks at its own row,
        the edges out of an exclusive stage share the row of the first of them. An edge out of a
        stage that the event never reaches is not taken.
        """
        taken = np.zeros(uniforms.shape, dtype=np.bool_)
        reached = np.zeros((len(self.stages), uniforms.shape[1]), dtype=np.bool_)
        for at, stage in enumerate(self.stages):
            incoming = self.into(stage.name)
            reached[at] = taken[list(incoming)].any(axis=0) if incoming else True
            outgoing = self.out_of(stage.name)
            below = 0.0
            for edge in outgoing:
                share = self.edges[edge].share
                if stage.name in self.exclusive:
                    draw = uniforms[outgoing[0]]
                    # Shares that are meant to sum to 1 may miss it by a rounding: the last takes the rest.
                    upper = below + share if below + share < 1 - 1e-9 else 1.0
                    taken[edge] = reached[at] & (draw >= below) & (draw < upper)
                    below += share
                else:
                    taken[edge] = reached[at] & (uniforms[edge] < share)
        return taken

    @cached_property
    def visits(self) -> tuple[float, ...]:
        """The share of events (0-1) that reach each stage.

        Exact where the draws have at most 4,096 outcomes together, else from 65,536 fixed draws.
        """
        groups = [
            (edges, [self.edges[edge].share for edge in edges])
            for stage in self.stages
            for edges in self._draws(stage.name)
        ]
        outcomes = np.prod([float(len(shares) + 1) for _, shares in groups]) if groups else 1.0
        if outcomes > _EXACT:
            taken = self.take(np.random.default_rng(0).random((len(self.edges), _DRAWS)))
            weights = np.full(_DRAWS, 1 / _DRAWS)
        else:
            uniforms, weights = self._outcomes(groups)
            taken = self.take(uniforms)
        shares = []
        for name in self.names:
            incoming = self.into(name)
            shares.append(float(weights[taken[list(incoming)].any(axis=0)].sum()) if incoming else 1.0)
        return tuple(shares)

    def _draws(self, name: str) -> list[tuple[int, ...]]:
        outgoing = self.out_of(name)
        if name in self.exclusive:
            return [outgoing] if outgoing else []
        return [(edge,) for edge in outgoing if self.edges[edge].share < 1]

    def _outcomes(self, groups: list[tuple[tuple[int, ...], list[float]]]) -> tuple[np.ndarray, np.ndarray]:
        columns, weights = [], []
        for choice in product(*(range(len(shares) + 1) for _, shares in groups)):
            column, weight = np.zeros(len(self.edges)), 1.0
            for (edges, shares), chosen in zip(groups, choice, strict=True):
                bounds = [0.0, *np.cumsum(shares), 1.0]
                width = max(bounds[chosen + 1] - bounds[chosen], 0.0)
                weight *= width
                column[edges[0]] = min(bounds[chosen] + width / 2, 1 - 1e-12)
            columns.append(column)
            weights.append(weight)
        return np.array(columns).T.reshape(len(self.edges), len(columns)), np.array(weights)

    def rest_s(self, latencies_s: Sequence[float]) -> tuple[float, ...]:
        """Return, per stage, the least time from starting there to the event's end, at the given latency of each stage.

        Edges that an event may leave aside count for nothing, of alternatives the shortest counts: where
        the latencies are the fastest that there are, who has less time left than this is late for sure
        (or, at a member of a quorum, of no use to it).
        """
        rest = [0.0] * len(self.stages)
        for at in range(len(self.stages) - 1, -1, -1):
            name = self.names[at]
            ways = [
                (self.edges[edge].share, self.hop_s + rest[self.index[self.edges[edge].after]])
                for edge in self.out_of(name)
                if self.edges[edge].share > 0
            ]
            if name in self.exclusive:
                ahead = 0.0 if self.may_end(name) else min(way for _, way in ways)
            else:
                ahead = max((way for share, way in ways if share >= 1), default=0.0)
            rest[at] = latencies_s[at] + ahead
        return tuple(rest)

    @cached_property
    def floor_s(self) -> float:
        """The end-to-end time of an event that never waits, on the fastest hardware, by its longest way."""
        return self.path_s([min(hw.profile.latency_s(1) for hw in each.hardware) for each in self.stages])

    def path_s(self, latencies_s: Sequence[float]) -> float:
        """Return the longest way through the graph at the given latency of each stage, hops included, in seconds.

        A join at a quorum goes on with its q-th fastest incoming way.
        """
        done = [0.0] * len(self.stages)
        for at, name in enumerate(self.names):
            ways = sorted([done[before] + self.hop_s for before in self._befores[at]])
            quorum = min(self.quorum.get(name, len(ways)), len(ways))
            done[at] = latencies_s[at] + (ways[quorum - 1] if ways else 0.0)
        return max(compress(done, self._ends))

    def may_end(self, name: str) -> bool:
        """Tell whether an event may end at a stage: no edge leads out, or all of them may be left aside."""
        return self._ends[self.index[name]]

    def _may_end(self, name: str) -> bool:
        shares = [self.edges[edge].share for edge in self.out_of(name)]
        if name in self.exclusive:
            return sum(shares) < 1 - 1e-9
        return all(share < 1 for share in shares)

    @cached_property
    def before_quorums(self) -> frozenset[str]:
        """The stages that some way leads from to a quorum: an event may be over before they are done with it."""
        found: set[str] = set()
        for name in reversed(self.names):
            after = {self.edges[edge].after for edge in self.out_of(name)}
            if after & (found | set(self.quorum)):
                found.add(name)
        return frozenset(found)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The stages that a quorum can do without, in the order in which they are dropped.

        Least accuracy per millisecond first; without accuracies, the slowest first.
        """
        loose = [
            stage
            for stage in self.stages
            if (out := self.out_of(stage.name)) and all(self.edges[edge].after in self.quorum for edge in out)
        ]

        def worth(stage: Stage) -> tuple[float, str]:
            slowest_ms = 1e3 * min(hw.profile.latency_s(1) for hw in stage.hardware)
            return ((1.0 if stage.accuracy is None else stage.accuracy) / slowest_ms, stage.name)

        return tuple(stage.name for stage in sorted(loose, key=worth))

    @cached_property
    def levels(self) -> int:
        """How many ensemble levels there are: level n drops the first n of ``members``, never below a quorum."""
        level = 1
        while level <= len(self.members) and self._keeps_quorums(self.members[:level]):
            level += 1
        return level

    def dropped(self, level: int) -> tuple[str, ...]:
        """Return the members that ensemble level ``level`` does without."""
        return self.members[: min(max(level, 0), self.levels - 1)]

    def at_level(self, level: int) -> Graph:
        """Return the graph without the members that a level drops."""
        gone = self.dropped(level)
        if not gone:
            return self
        stages = tuple(each for each in self.stages if each.name not in gone)
        edges = tuple(each for each in self.edges if each.before not in gone and each.after not in gone)
        return replace(self, stages=stages, edges=edges)

    def _keeps_quorums(self, gone: Sequence[str]) -> bool:
        return all(
            sum(self.edges[edge].before not in gone for edge in self.into(join)) >= quorum
            for join, quorum in self.quorum.items()
        )


def _grouped(names: Iterable[str]) -> Mapping[str, tuple[int, ...]]:
    """Return where each name stands.

    >>> _grouped(["a", "b", "a"])
    {'a': (0, 2), 'b': (1,)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for at, name in enumerate(names):
        found[name] = (*found.get(name, ()), at)
    return found
