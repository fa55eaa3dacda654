"""The reference: one heap of events for the whole graph, written for its plainness. The simulation is held to it."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from guidevane.control.simulation import Schedule, Trace


@dataclass
class Queue:
    idle: int
    leaving: int = 0
    waiting: list[tuple[float, int]] = field(default_factory=list)


class EventHeap:
    """One run: what happens next is what the heap says, whatever the stage."""

    def __init__(self, graph: Graph, trace: Trace, slo_s: float, settings: Sequence[Setting], *, drop=False) -> None:
        self.graph, self.trace, self.slo_s, self.settings, self.drop = graph, trace, slo_s, settings, drop
        self.heap: list[tuple[float, int, str, tuple]] = []
        self.count = 0
        self.queues: dict[tuple[int, int], Queue] = {}
        self.came: dict[tuple[int, int], int] = {}
        self.ends: dict[int, float] = {}
        self.left: dict[int, int] = {}
        fastest = [s.on(x.hardware).profile.fastest_s for s, x in zip(graph.stages, settings, strict=True)]
        self.ahead = [rest - own for rest, own in zip(graph.rest_s(fastest), fastest, strict=True)]

    def push(self, time: float, what: str, *details: float) -> None:
        self.count += 1
        heapq.heappush(self.heap, (time, self.count, what, details))

    def run(self, schedules: Sequence[Schedule] | None = None) -> list[float]:
        for at, schedule in enumerate(schedules or ()):
            for time, replicas in zip(schedule.times, schedule.replicas, strict=True):
                self.push(time, "change", at, replicas)
        for event, arrival in enumerate(self.trace.arrivals):
            self.left[event] = self._expected_ends(event)
            for at in range(len(self.graph.stages)):
                if not self.graph.into(self.graph.names[at]):
                    self.push(float(arrival), "come", at, event)
        while self.heap:
            now = self.heap[0][0]
            # Everything of one moment first, then work is handed out: nobody is served before who came with him.
            while self.heap and self.heap[0][0] == now:
                _, _, what, details = heapq.heappop(self.heap)
                getattr(self, what)(now, *details)
            for key in list(self.queues):
                self.dispatch(now, *key)
        return [
            self.ends[event] - arrival if self.left[event] == 0 else math.inf
            for event, arrival in enumerate(self.trace.arrivals)
        ]

    def queue(self, at: int, event: int = 0) -> tuple[int, int]:
        stage, setting = self.graph.stages[at], self.settings[at]
        if not stage.partitions or setting.replicas == 0:
            key, replicas = (at, 0), setting.replicas
        else:
            consumers = min(setting.replicas, stage.partitions)
            key, replicas = (at, int(self.trace.spread[event] * stage.partitions) * consumers // stage.partitions), 1
        self.queues.setdefault(key, Queue(replicas))
        return key

    def come(self, now: float, at: int, event: int) -> None:
        name = self.graph.names[at]
        incoming = self.graph.into(name)
        taken = sum(bool(self.trace.taken[edge][event]) for edge in incoming)
        self.came[at, event] = self.came.get((at, event), 0) + 1
        if not incoming or self.came[at, event] == min(taken, self.graph.quorum.get(name, taken)):
            self.queues[self.queue(at, event)].waiting.append((now, event))

    def change(self, now: float, at: int, replicas: int) -> None:
        queue = self.queues[self.queue(at)]
        for _ in range(abs(replicas)):
            if replicas > 0 and queue.leaving:
                queue.leaving -= 1
            elif replicas > 0:
                queue.idle += 1
            elif queue.idle:
                queue.idle -= 1
            else:
                queue.leaving += 1

    def look(self, now: float) -> None:
        """Wake up: a batch has waited long enough."""

    def dispatch(self, now: float, at: int, part: int) -> None:
        queue, setting = self.queues[at, part], self.settings[at]
        profile = self.graph.stages[at].on(setting.hardware).profile
        while queue.idle and queue.waiting:
            oldest = queue.waiting[0][0]
            if len(queue.waiting) < setting.batch and now < oldest + setting.wait_s:
                self.push(oldest + setting.wait_s, "look")
                return
            ends = now + profile.table[min(len(queue.waiting), setting.batch)] + self.ahead[at]
            batch = []
            while queue.waiting and len(batch) < setting.batch:
                _, event = queue.waiting.pop(0)
                if not self.drop or ends <= self.trace.arrivals[event] + self.slo_s:
                    batch.append(event)
            if batch:
                queue.idle -= 1
                noise = self.trace.noise[at][batch[0]]
                self.push(now + profile.table[len(batch)] * (1.0 + profile.jitter * noise), "done", at, part, *batch)

    def done(self, now: float, at: int, part: int, *batch: int) -> None:
        queue = self.queues[at, part]
        if queue.leaving:
            queue.leaving -= 1
        else:
            queue.idle += 1
        for event in batch:
            out = [edge for edge in self.graph.out_of(self.graph.names[at]) if self.trace.taken[edge][event]]
            for edge in out:
                self.push(now + self.graph.hop_s, "come", self.graph.index[self.graph.edges[edge].after], event)
            if not out:
                self.left[event] -= 1
                self.ends[event] = max(self.ends.get(event, 0.0), now)

    def _expected_ends(self, event: int) -> int:
        taken = self.trace.taken
        names = self.graph.names
        reached = [name for name in names if not (i := self.graph.into(name)) or any(taken[e][event] for e in i)]
        return sum(not any(taken[e][event] for e in self.graph.out_of(name)) for name in reached)
