"""The third tier of the estimator: what a configuration would have done to a trace, event by event.

Exact for feed-forward graphs (``queues``): the tests hold it to an event-heap engine, departure by
departure. All chance is drawn once and kept with the trace, so that two configurations differ by
what they are and not by their luck; what a configuration shares with an earlier one, up to some
stage, is remembered. Where no batch was full, larger ones would have done the same: they share it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from guidevane.control import queues
from guidevane.control.pausing import may_pause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from guidevane.control.queues import Ids, Times

Stream = tuple["Ids", "Times"]
_Shape: TypeAlias = tuple[object, ...]
"""What a stream that leaves a stage depends on, but for the size of its batches."""
_NEVER = -1
UNBOUNDED = 2**31 - 1
"""As many replicas as there are events, each as fast as its fastest batch: nobody waits."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Arrivals and everything that chance decides about them.

    ``arrivals``: seconds, ascending, float64[n]. ``taken``: which edges an event takes, bool[edges, n].
    ``noise``: abs(N(0, 1)), how far a batch is from its profile where this event is its oldest,
    float64[stages, n]. ``spread``: where in a topic's partitions it falls, float64[n] in [0, 1).
    """

    arrivals: Times
    taken: npt.NDArray[np.bool_]
    noise: Times
    spread: Times

    @classmethod
    def draw(cls, graph: Graph, arrivals: Times, seed: int) -> Trace:
        """Draw what chance decides, the same for equal seeds."""
        random = np.random.default_rng(seed)
        n = len(arrivals)
        taken = graph.take(random.random((len(graph.edges), n)))
        noise = np.abs(random.standard_normal((len(graph.stages), n)))
        return cls(np.ascontiguousarray(arrivals, dtype=np.float64), taken, noise, random.random(n))

    def __len__(self) -> int:
        return len(self.arrivals)


class Chances:
    """Makes traces of one graph: what chance decides is the same at each rate, and is drawn once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._drawn: dict[tuple[int, int], Trace] = {}

    def __call__(self, arrivals: Times, seed: int) -> Trace:
        """Return what :meth:`Trace.draw` does."""
        key = len(arrivals), seed
        if key not in self._drawn:
            self._drawn[key] = Trace.draw(self._graph, arrivals, seed)
        return replace(self._drawn[key], arrivals=np.ascontiguousarray(arrivals, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Replicas over time: at each of ``times`` (seconds, ascending) as many join, or (negative) leave."""

    times: tuple[float, ...] = ()
    replicas: tuple[int, ...] = ()

    @property
    def as_arrays(self) -> tuple[Times, Ids]:
        """Both as arrays, float64 and int32."""
        return np.array(self.times, np.float64), np.array(self.replicas, np.int32)


_UNCHANGED = Schedule().as_arrays


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a trace. ``latencies_s``: per event, infinite where it was dropped or never served.

    A run that was stopped because more than its limit were late has no latencies: ``missed`` is then
    how many were seen to be.
    """

    missed: int
    events: int
    latencies_s: Times | None

    @property
    def stopped(self) -> bool:
        """Tell whether the run ended early."""
        return self.latencies_s is None

    @property
    def miss(self) -> float:
        """Return the share of events that missed, 0-1."""
        return self.missed / self.events if self.events else 0.0

    def quantile_s(self, p: float) -> float:
        """Return a quantile of the latency over all events, those that never ended included (as infinite)."""
        if self.latencies_s is None or not len(self.latencies_s):
            return float("inf") if self.stopped else 0.0
        return float(np.quantile(self.latencies_s, p, method="higher"))


class Simulation:
    """A trace, ready to be run through any configuration of its graph."""

    def __init__(self, graph: Graph, trace: Trace, slo_s: float, *, remember_bytes: int = 1 << 28) -> None:
        """Prepare; ``remember_bytes`` bounds the streams that are kept of earlier configurations."""
        self.graph, self.trace, self.slo_s = graph, trace, slo_s
        self._deadlines = trace.arrivals + slo_s
        n = len(trace)
        self._ids = np.arange(n, dtype=np.int32)
        self._into = [graph.into(name) for name in graph.names]
        self._befores = [[graph.index[graph.edges[edge].before] for edge in into] for into in self._into]
        self._may_end = [graph.may_end(name) for name in graph.names]
        self._ends: list[npt.NDArray[np.bool_]] = []
        self._need: list[npt.NDArray[np.int16]] = []
        self._left = np.zeros(n, np.int16)
        for at, name in enumerate(graph.names):
            came = trace.taken[list(self._into[at])].sum(axis=0, dtype=np.int16)
            reached = came > 0 if self._into[at] else np.ones(n, np.bool_)
            ends = reached & ~trace.taken[list(graph.out_of(name))].any(axis=0)
            self._ends.append(ends)
            self._left += ends
            self._need.append(np.minimum(came, graph.quorum.get(name, len(graph.edges) + 1)).astype(np.int16))
        self._end_together = bool(self._ends[-1].all() and (self._left == 1).all())
        # A result that a quorum may do without is never late by itself.
        self._strict = [name not in graph.before_quorums for name in graph.names]
        self._known: dict[_Shape, dict[int, tuple[int, int]]] = {}
        self._streams = 0
        self._missed: dict[tuple[int, ...], int] = {}
        self._kept: OrderedDict[int, Stream] = OrderedDict()
        self._kept_bytes, self._remember_bytes = 0, remember_bytes
        self._aheads: dict[tuple[str, ...], tuple[float, ...]] = {}

    def run(
        self,
        settings: Sequence[Setting],
        *,
        limit: int | None = None,
        drop: bool = False,
        ahead_s: Sequence[float] | None = None,
        schedules: Sequence[Schedule] | None = None,
    ) -> Outcome:
        """Run a configuration (one setting per stage, in the graph's order); stop beyond ``limit`` misses.

        ``drop``: events that cannot meet their deadline are not served; ``ahead_s``: what is then taken, per
        stage, for the time from its end to the end of the event (None: the least there is). ``schedules``:
        changes of the replicas, per stage. A replica count of 0 serves nobody.
        """
        streams = self._run(settings, limit, drop, ahead_s, schedules)
        if streams is None:
            return Outcome((limit or 0) + 1, len(self.trace), None)
        latencies = self._latencies(streams)
        return Outcome(int(np.count_nonzero(latencies > self.slo_s)), len(latencies), latencies)

    def missed(
        self,
        settings: Sequence[Setting],
        *,
        limit: int | None = None,
        drop: bool = False,
        ahead_s: Sequence[float] | None = None,
    ) -> int:
        """Return how many events miss, as ``run`` has it, for whoever asks nothing else: that is remembered."""
        streams = self._run(settings, limit, drop, ahead_s, None)
        if streams is None:
            return (limit or 0) + 1
        numbers = tuple(streams)
        if numbers not in self._missed:
            self._missed[numbers] = self._late(streams)
        return self._missed[numbers]

    def _run(
        self,
        settings: Sequence[Setting],
        limit: int | None,
        drop: bool,  # noqa: FBT001 - one of the arguments of run, handed on
        ahead_s: Sequence[float] | None,
        schedules: Sequence[Schedule] | None,
    ) -> dict[int, Stream] | None:
        """Return what leaves each stage, by the stream's number, in the graph's order; None where it was stopped."""
        may_pause()
        stop = _NEVER if limit is None else limit
        ahead = self._ahead(settings)
        asked = tuple(ahead_s) if ahead_s else ahead
        streams: dict[int, Stream] = {}
        numbers: list[int] = []
        for at, setting in enumerate(settings):
            schedule = schedules[at] if schedules else None
            shape = (
                at, drop, setting.hardware, setting.replicas, setting.wait_s, schedule, asked[at] if ahead_s else None,
                *(numbers[before] for before in self._befores[at]),
            )  # fmt: skip
            number = self._number(shape, at, setting)
            stream = self._kept.get(number)
            if stream is None:
                late_limit = stop if self._strict[at] else _NEVER
                came = self._arrivals(at, [streams[numbers[before]] for before in self._befores[at]])
                served = self._serve(at, setting, schedule, came, (ahead[at], asked[at]), drop, late_limit)
                if served is None:
                    return None
                stream, waited = served
                number = self._keep(number, shape, setting.batch, stream, waited)
            else:
                self._kept.move_to_end(number)
            streams[number] = stream
            numbers.append(number)
        return streams

    def _late(self, streams: Mapping[int, Stream]) -> int:
        """Return how many events miss; where all end at the last stage, those that do not leave it in time."""
        if not self._end_together:
            return int(np.count_nonzero(self._latencies(streams) > self.slo_s))
        *_, (ids, times) = streams.values()
        return len(self.trace) - int(np.count_nonzero(times - self.trace.arrivals[ids] <= self.slo_s))

    def _latencies(self, streams: Mapping[int, Stream]) -> Times:
        ends, left = np.zeros(len(self.trace)), self._left.copy()
        for stream, may_end, ending in zip(streams.values(), self._may_end, self._ends, strict=True):
            if may_end:
                queues.finish(*stream, ending, ends, left)
        latencies: Times = ends - self.trace.arrivals
        latencies[left > 0] = np.inf
        return latencies

    def _arrivals(self, at: int, befores: Sequence[Stream]) -> Stream:
        if not self._into[at]:
            return self._ids, self.trace.arrivals
        parts = [self._follow(*stream, edge) for stream, edge in zip(befores, self._into[at], strict=True)]
        if len(parts) == 1:
            return parts[0]
        ids, times = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        starts = np.cumsum([0, *(len(part[0]) for part in parts)])
        return queues.join(ids, times, starts, self._need[at])

    def _follow(self, ids: Ids, times: Times, edge: int) -> Stream:
        if self.graph.edges[edge].share >= 1 and self.graph.edges[edge].before not in self.graph.exclusive:
            # Everybody takes it who gets there.
            return ids, times + self.graph.hop_s
        return queues.follow(ids, times, self.trace.taken[edge], self.graph.hop_s)

    def _serve(
        self,
        at: int,
        setting: Setting,
        schedule: Schedule | None,
        arrivals: Stream,
        ahead: tuple[float, float],
        drop: bool,  # noqa: FBT001 - one of the arguments of run, handed on
        late_limit: int,
    ) -> tuple[Stream, int] | None:
        """Return what leaves a stage, and the most that waited for a batch; None beyond ``late_limit``."""
        stage = self.graph.stages[at]
        profile = stage.on(setting.hardware).profile
        if setting.replicas >= UNBOUNDED:
            return (arrivals[0], arrivals[1] + profile.fastest_s), 0
        times, changes = _UNCHANGED if schedule is None else schedule.as_arrays

        def serve(ids: Ids, came: Times, replicas: int) -> tuple[Stream, int] | None:
            scratch = queues.Scratch.of(len(ids), replicas, changes)
            served = queues.serve(
                ids,
                came,
                self.trace.noise[at],
                profile.jitter,
                profile.table,
                replicas,
                setting.batch,
                setting.wait_s,
                times,
                changes,
                self._deadlines,
                ahead[0],
                drop,
                ahead[1],
                late_limit,
                *scratch,
            )
            if served < 0:
                return None
            # Who waits for a batch to fill does something else for a larger one.
            waited = setting.batch if setting.wait_s else int(scratch.waited[0])
            return (scratch.ids[:served], scratch.times[:served]), waited

        if not stage.partitions or setting.replicas == 0 or len(times):
            return serve(*arrivals, setting.replicas)
        # A consumer has the partitions of its range for itself: as many queues as consumers.
        consumers = min(setting.replicas, stage.partitions)
        if consumers == 1:
            # One has them all, and what leaves it is in order: a live site's rooms are mostly that.
            return serve(*arrivals, 1)
        partition = (self.trace.spread[arrivals[0]] * stage.partitions).astype(np.int64)
        owner = partition * consumers // stage.partitions
        parts = [serve(arrivals[0][owner == one], arrivals[1][owner == one], 1) for one in range(consumers)]
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts):
            return None
        ids, came = (np.concatenate([stream[i] for stream, _ in whole]) for i in (0, 1))
        order = np.argsort(came, kind="stable")
        return (ids[order].astype(np.int32), came[order].astype(np.float64)), max(waited for _, waited in whole)

    def _ahead(self, settings: Sequence[Setting]) -> tuple[float, ...]:
        """Return, per stage, the least time from its end to the end of the event, on this hardware."""
        kinds = tuple(each.hardware for each in settings)
        if kinds not in self._aheads:
            fastest = [stage.on(kind).profile.fastest_s for stage, kind in zip(self.graph.stages, kinds, strict=True)]
            rest = self.graph.rest_s(fastest)
            self._aheads[kinds] = tuple(whole - own for whole, own in zip(rest, fastest, strict=True))
        return self._aheads[kinds]

    def _number(self, shape: _Shape, at: int, setting: Setting) -> int:
        """Return the number of a stream; that of another batch size where none of their batches was full.

        ``_NEVER`` where there is none yet.
        """
        known, batch = self._known.get(shape, {}), setting.batch
        if batch in known:
            return known[batch][0]
        stage = self.graph.stages[at]
        most = stage.on(setting.hardware).profile.most
        if batch > most:
            raise ValueError(f"stage {stage.name!r}: batch {batch} was never measured, at most {most}")
        alike = (number for other, (number, waited) in known.items() if waited < min(batch, other))
        return next(alike, _NEVER)

    def _keep(self, number: int, shape: _Shape, batch: int, stream: Stream, waited: int) -> int:
        """Keep a stream, and return its number: one that was dropped since has its own."""
        if number == _NEVER:
            number = self._streams
            self._streams += 1
            self._known.setdefault(shape, {})[batch] = number, waited
        self._kept[number] = stream
        self._kept_bytes += stream[0].nbytes + stream[1].nbytes
        while self._kept_bytes > self._remember_bytes and len(self._kept) > 1:
            _, (ids, times) = self._kept.popitem(last=False)
            self._kept_bytes -= ids.nbytes + times.nbytes
        return number
