"""A policy steers a case from the first to the last event, one second at a time, and sees only the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.control.plant import Observation, Served, StageObservation
from loadtests.steering.plant import columns
from loadtests.steering.plant.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.control.plant import Action, Policy
    from loadtests.steering.case import Case
    from loadtests.steering.plant.columns import Floats, Ints

TICK_S = 1.0
_HALVES, _TENTHS = 2, 10


@dataclass(frozen=True)
class Run:
    """How one policy did.

    Per event: ``latency_s`` float64[n], inf where it was shed or never finished; ``shed_s`` float64[n], how long after
    its arrival it was shed, inf where it was not.
    Per second and stage: ``replicas`` that stay (starting ones included), ``pending``, ``batch``, ``queue``.
    """

    latency_s: Floats
    shed_s: Floats
    shed: int
    unfinished: int
    cost_usd: float
    replica_seconds: float
    actions: int
    left_out: int
    """Visits of stages that were dropped: of shed events, and of members that a quorum did without."""
    replicas: Ints
    pending: Ints
    batch: Ints
    queue: Ints
    actions_taken: list[Action] = field(repr=False)

    def misses(self, slo_s: float) -> int:
        """Return how many events were late, shed, or never finished."""
        return int((self.latency_s > slo_s).sum())


class _Eyes:
    """Turns the plant's running totals into what one interval brought."""

    def __init__(self, cluster: Cluster, expected_per_s: float) -> None:
        self.cluster = cluster
        self.expected_per_s = expected_per_s
        self.done = 0
        self.settings: dict[str, tuple[str, int]] = {}
        self._remember()

    def _remember(self) -> None:
        c = self.cluster.state
        self.stage, self.clock = c.stage.copy(), c.clock.copy()
        self.served, self.served_s = c.served.copy(), c.served_s.copy()

    def look(self) -> Observation:
        """Return what happened since the last look."""
        cluster, c = self.cluster, self.cluster.state
        now, began = cluster.now_s, max(cluster.now_s - TICK_S, 0.0)
        bounds = np.searchsorted(c.arrival_s, np.linspace(began, now, _TENTHS + 1))
        ended = c.done[self.done : cluster.ended]
        late = c.done_s[ended] - c.arrival_s[ended] > cluster.scene.deadline_s
        seen = Observation(
            time_s=now,
            interval_s=now - began,
            counts=tuple(np.diff(bounds[:: _TENTHS // _HALVES]).tolist()) if now > 0 else (),
            tenths=tuple(np.diff(bounds).tolist()) if now > 0 else (),
            stages=tuple(self._stage(s) for s in range(len(cluster.scene.graph.stages))),
            ended=ended.size,
            missed=int(late.sum()),
            shed=int((c.fate[ended, columns.OUTCOME] == columns.SHED).sum()),
            expected_per_s=self.expected_per_s,
        )
        self.done = cluster.ended
        self._remember()
        return seen

    def _stage(self, s: int) -> StageObservation:
        cluster, c = self.cluster, self.cluster.state
        stage = cluster.scene.graph.stages[s]
        hardware, batch = self.settings.get(stage.name, (stage.hardware[0].name, 1))
        pending = sorted(
            float(c.ready_s[s, h, at % c.ready_s.shape[2]])
            for h in range(len(stage.hardware))
            for at in range(c.unit[s, h, columns.OPENED], c.unit[s, h, columns.LAUNCHED])
        )
        sizes = np.flatnonzero(c.served[s] > self.served[s])
        counts = (c.served[s] - self.served[s])[sizes]
        took_s = (c.served_s[s] - self.served_s[s])[sizes]
        queue, head = int(cluster.queued[s]), int(c.stage[s, columns.HEAD])
        return StageObservation(
            name=stage.name,
            arrivals=int(c.stage[s, columns.ARRIVED] - self.stage[s, columns.ARRIVED]),
            queue=queue,
            ready=int(cluster.serving[s].sum()),
            hardware=hardware,
            batch=batch,
            in_service=int(c.stage[s, columns.IN_SERVICE]),
            pending=tuple(pending),
            retiring=int(c.unit[s, :, columns.LEAVING].sum()),
            served=tuple(
                Served(size, seconds / count, count)
                for size, seconds, count in zip(sizes.tolist(), took_s.tolist(), counts.tolist(), strict=True)
            ),
            busy_s=float(c.clock[s, columns.BUSY_FOR] - self.clock[s, columns.BUSY_FOR]),
            oldest_wait_s=cluster.now_s - float(c.queue_s[s, head]) if queue else 0.0,
        )


def play(policy: Policy, case: Case, *, progress: Callable[[float], None] | None = None) -> Run:
    """Let a policy steer a case; ``progress`` is told the share (0-1) that is done.

    Replicas are paid for until the whole second after the last arrival. Then the policy goes on until every event
    is over, at the longest for a minute or twenty objectives: who is not done then has missed by far.
    """
    cluster = Cluster(case.scene)
    eyes = _Eyes(cluster, case.expected_per_s)
    end_s, latest_s = case.length_s, case.length_s + max(60.0, 20 * case.slo_s)
    memory: Any = None
    rows: list[tuple[Ints, Ints, list[int], Ints]] = []
    taken: list[Action] = []
    graph = case.graph
    while cluster.now_s < end_s or (cluster.unfinished and cluster.now_s < latest_s):
        action, memory = policy(eyes.look(), memory)
        cluster.obey(action)
        eyes.settings = {name: (each.hardware, each.batch) for name, each in action.settings.items()}
        rows.append(
            (
                (cluster.serving + cluster.pending).sum(axis=1),
                cluster.pending.sum(axis=1),
                [action.settings[name].batch for name in graph.names],
                cluster.queued,
            )
        )
        taken.append(action)
        cluster.advance(cluster.now_s + TICK_S)
        if progress is not None and len(rows) % 16 == 0:
            progress(min(cluster.now_s / end_s, 1.0))
    c = cluster.state
    replicas, pending, batch, queue = (np.asarray(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Run(
        latency_s=c.done_s - c.arrival_s, shed_s=c.gone_s - c.arrival_s,
        shed=int((c.fate[:, columns.OUTCOME] == columns.SHED).sum()),
        unfinished=cluster.unfinished,
        cost_usd=cluster.cost_usd(),
        replica_seconds=float(cluster.replica_seconds().sum()),
        actions=cluster.actions, left_out=int(c.stage[:, columns.DROPPED].sum()),
        replicas=replicas, pending=pending, batch=batch, queue=queue, actions_taken=taken,
    )  # fmt: skip
