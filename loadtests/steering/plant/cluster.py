"""One run's cluster: made of a graph, arrivals and a seed; advanced from tick to tick, and told what to change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering.plant import columns, kernel
from loadtests.steering.plant.columns import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Action, Setting
    from loadtests.steering.plant.columns import Floats, Ints

MOST_REPLICAS = 2000
"""Of one stage on one kind of hardware: a policy that runs away is stopped here, and pays for what it has."""

_JITTERS = 2**16


@dataclass(frozen=True, slots=True)
class Draws:
    """What chance decides about a run, the same for every policy: each event's way, and how long batches take."""

    taken: NDArray[np.uint8]
    need: NDArray[np.uint8]
    arriving: NDArray[np.uint8]
    ends: NDArray[np.uint8]
    jitter: Floats

    @classmethod
    def of(cls, graph: Graph, events: int, *, seed: int) -> Draws:
        """Draw for ``events`` events; the same graph, number and seed give the same."""
        ways, times = (np.random.default_rng([seed, each]) for each in (1, 2))
        taken = graph.take(ways.random((len(graph.edges), events)))
        arriving = np.ones((events, len(graph.stages)), dtype=np.uint8)
        need = np.ones((events, len(graph.stages)), dtype=np.uint8)
        ends = np.zeros(events, dtype=np.uint8)
        for at, name in enumerate(graph.names):
            if into := graph.into(name):
                arriving[:, at] = taken[list(into)].sum(axis=0)
                need[:, at] = np.minimum(arriving[:, at], graph.quorum.get(name, len(into)))
            leaves = taken[list(graph.out_of(name))].any(axis=0)
            ends += (need[:, at] > 0) & ~leaves
        jitter = np.abs(times.standard_normal(_JITTERS))
        return cls(np.ascontiguousarray(taken.T.astype(np.uint8)), need, arriving, ends, jitter)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run is played on: the same for each policy of a comparison."""

    graph: Graph
    arrivals_s: Floats
    deadline_s: float
    draws: Draws

    @classmethod
    def of(cls, graph: Graph, arrivals_s: Floats, *, deadline_s: float, seed: int) -> Scene:
        """Draw what chance decides."""
        return cls(graph, arrivals_s, deadline_s, Draws.of(graph, arrivals_s.size, seed=seed))

    @property
    def length_s(self) -> float:
        """How long replicas are paid for: to the whole second after the last arrival."""
        return float(np.floor(self.arrivals_s[-1]) + 1)

    @property
    def kinds(self) -> int:
        """The most kinds of hardware that any stage may run on."""
        return max(len(each.hardware) for each in self.graph.stages)

    def price(self, replica_seconds: Floats) -> float:
        """Return what float64[S, H] replica-seconds cost, in $."""
        return float(
            sum(
                hw.price_usd_per_hour * replica_seconds[s, h] / 3600
                for s, stage in enumerate(self.graph.stages)
                for h, hw in enumerate(stage.hardware)
            )
        )

    def first(self, seconds: float) -> Scene:
        """Return the scene cut to its first seconds, with the same ways and jitter."""
        n = max(int(np.searchsorted(self.arrivals_s, seconds)), 1)
        draws = self.draws
        cut = Draws(draws.taken[:n], draws.need[:n], draws.arriving[:n], draws.ends[:n], draws.jitter)
        return Scene(self.graph, self.arrivals_s[:n], self.deadline_s, cut)

    def state(self) -> State:
        """Return an empty cluster at second 0 of this scene."""
        graph, draws, kinds = self.graph, self.draws, self.kinds
        stages, n = len(graph.stages), self.arrivals_s.size
        most = max(hw.profile.most for each in graph.stages for hw in each.hardware)
        # The kernel walks the edges of a stage as a slice, so edges stand in the order of their stage.
        out = [graph.out_of(name) for name in graph.names]
        order = [edge for edges in out for edge in edges]
        state = State(
            unit=np.zeros((stages, kinds, columns.UNIT), dtype=np.int64),
            stage=np.zeros((stages, columns.STAGE), dtype=np.int64),
            clock=np.zeros((stages, columns.CLOCK)),
            paid=np.zeros((stages, kinds, columns.PAID)),
            fixed=np.asarray([graph.hop_s, self.deadline_s, self.length_s]),
            size=np.zeros(2, dtype=np.int64),
            out_to=np.asarray([graph.index[graph.edges[edge].after] for edge in order], dtype=np.int64),
            latency_s=np.full((stages, kinds, most + 1), np.inf),
            arrival_s=self.arrivals_s,
            taken=np.ascontiguousarray(draws.taken[:, order]),
            way=np.stack([draws.need, draws.arriving, np.zeros_like(draws.need)], axis=2),
            fate=np.stack([np.zeros_like(draws.ends), draws.ends], axis=1),
            done_s=np.full(n, np.inf),
            gone_s=np.full(n, np.inf),
            jitter=draws.jitter,
            queue_event=np.full((stages, n), -1, dtype=np.int32),
            queue_s=np.full((stages, n), np.inf),
            ready_s=np.zeros((stages, kinds, MOST_REPLICAS + 1)),
            times=np.zeros((2 * MOST_REPLICAS * stages * kinds, 2)),
            slots=np.zeros((2 * MOST_REPLICAS * stages * kinds, 5), dtype=np.int64),
            served=np.zeros((stages, most + 1), dtype=np.int64),
            served_s=np.zeros((stages, most + 1)),
            done=np.zeros(n, dtype=np.int32),
        )
        state.clock[:, columns.SHED_BELOW] = -1.0
        ends = np.cumsum([len(edges) for edges in out])
        state.stage[:, columns.OUT_END] = ends
        state.stage[1:, columns.OUT_BEGIN] = ends[:-1]
        for s, stage in enumerate(graph.stages):
            for h, hw in enumerate(stage.hardware):
                state.latency_s[s, h, : hw.profile.most + 1] = hw.profile.table
                state.paid[s, h, columns.STARTUP] = hw.startup_s
                state.paid[s, h, columns.JITTER] = hw.profile.jitter
            state.unit[s, :, columns.PREFER] = np.argsort(state.latency_s[s, :, 1], kind="stable")
            if not graph.into(stage.name):
                state.queue_event[s], state.queue_s[s], state.stage[s, columns.TAIL] = np.arange(n), self.arrivals_s, n
        return state


def billed_s(state: State, until_s: float) -> Floats:
    """Return the replica-seconds to be paid for, float64[S, H], of those who are there up to ``until_s``."""
    unit = state.unit
    starting = unit[:, :, columns.LAUNCHED] - unit[:, :, columns.OPENED]
    alive = starting + unit[:, :, columns.IDLE] + unit[:, :, columns.BUSY]
    billed: Floats = state.paid[:, :, columns.BILLED] + alive * until_s
    return billed


def least_ahead_s(graph: Graph) -> tuple[float, ...]:
    """Return, per stage, the least time from the end of its service to the end of the event."""
    fastest = [min(hw.profile.fastest_s for hw in each.hardware) for each in graph.stages]
    return tuple(rest - own for rest, own in zip(graph.rest_s(fastest), fastest, strict=True))


class Cluster:
    """A cluster that a policy steers: ``obey`` orders, ``advance`` to the next tick, look at ``state``."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.state = scene.state()
        self.now_s = 0.0
        self._settings: dict[str, Setting] = {}
        self.actions = 0
        """How often a stage's replicas or batch were changed, the first setting not counted."""

    def obey(self, action: Action) -> None:
        """Change what is ordered, now; the first order stands at once, as a deployment that was there before.

        Where the hardware of a stage changes, the old replicas stay until as many new ones are ready.

        Raises:
            ValueError: a stage without setting, or one that nobody could carry out: a policy's bug, not a result.
        """
        c, graph, first = self.state, self.scene.graph, not self.state.unit[:, :, columns.BATCH].any()
        left_out = graph.dropped(action.level)
        for s, stage in enumerate(graph.stages):
            setting = action.settings[stage.name]
            kinds = [hw.name for hw in stage.hardware]
            chosen = kinds.index(setting.hardware)
            if setting.replicas < 0 or not 1 <= setting.batch <= stage.hardware[chosen].profile.most:
                raise ValueError(f"stage {stage.name!r} on {setting.hardware!r} cannot run as {setting}")
            wanted = min(setting.replicas, stage.partitions or MOST_REPLICAS, MOST_REPLICAS)
            changed = bool(kernel.resize(c, s, chosen, self.now_s, wanted, first))
            serving = self.serving[s, chosen]
            for h, hw in enumerate(stage.hardware):
                if h != chosen and serving >= wanted:
                    changed |= bool(kernel.resize(c, s, h, self.now_s, 0, False))
                c.unit[s, h, columns.BATCH] = min(setting.batch, hw.profile.most)
            self.actions += not first and (changed or self._settings.get(stage.name, setting).batch != setting.batch)
            c.clock[s, columns.WAIT] = setting.wait_s
            c.stage[s, columns.SKIP] = stage.name in left_out
        self._settings = dict(action.settings)
        ahead = action.ahead_s or dict(zip(graph.names, self._least_ahead_s, strict=True))
        c.clock[:, columns.SHED_BELOW] = [ahead[name] for name in graph.names] if action.shed else -1.0

    @cached_property
    def _least_ahead_s(self) -> tuple[float, ...]:
        return least_ahead_s(self.scene.graph)

    def advance(self, until_s: float) -> None:
        """Let everything happen that happens before ``until_s``."""
        kernel.advance(self.state, self.now_s, until_s)
        self.now_s = until_s

    def replicas(self, column: int) -> Ints:
        """Return a column of ``State.unit``, int64[S, H]."""
        column_of: Ints = self.state.unit[:, :, column]
        return column_of

    @property
    def pending(self) -> Ints:
        """Return the replicas that are starting, int64[S, H]."""
        return self.replicas(columns.LAUNCHED) - self.replicas(columns.OPENED)

    @property
    def serving(self) -> Ints:
        """Return the replicas that serve and stay, int64[S, H]."""
        return self.replicas(columns.IDLE) + self.replicas(columns.BUSY) - self.replicas(columns.LEAVING)

    @property
    def queued(self) -> Ints:
        """Return how many events wait at each stage, int64[S], those given up elsewhere included."""
        waiting: Ints = np.maximum(self.state.stage[:, columns.SEEN] - self.state.stage[:, columns.HEAD], 0)
        return waiting

    @property
    def ended(self) -> int:
        """Return how many events have an outcome."""
        return int(self.state.size[columns.DONE])

    @property
    def unfinished(self) -> int:
        """Return how many events that arrived have no outcome."""
        return int(np.searchsorted(self.scene.arrivals_s, self.now_s)) - self.ended

    def replica_seconds(self) -> Floats:
        """Return the billed replica-seconds so far, float64[S, H], from each launch to each end."""
        return billed_s(self.state, min(self.now_s, self.scene.length_s))

    def cost_usd(self) -> float:
        """Return what the replicas cost so far."""
        return self.scene.price(self.replica_seconds())
