"""What a configuration is tried on before it is believed: a planning trace, and others that it was not chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from guidevane.control.analytic import BUSIEST, load
from guidevane.control.arrivals import gamma_arrivals, most_misses
from guidevane.control.plant import Setting
from guidevane.control.simulation import UNBOUNDED, Simulation, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guidevane.control.graph import Graph, Stage
    from guidevane.control.queues import Times


EVENTS = 6000
"""Of a trace that is planned for, where the share that may miss can be told by so many."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a plan is for: so many events per second, this bursty (squared coefficient of variation)."""

    rate_per_s: float
    scv: float = 1.0
    events: int = EVENTS
    seeds: tuple[int, ...] = (1, 2, 3)

    def traces(self) -> tuple[Times, ...]:
        """Return one arrival trace per seed; the first plans, the others validate.

        A burst must fit into a trace many times: bursty ones are longer.
        """
        n = int(self.events * min(max(self.scv, 1.0), 4.0) ** 0.5)
        return tuple(gamma_arrivals(self.rate_per_s, self.scv, n, seed) for seed in self.seeds)


class Trial:
    """Simulations of one graph on the traces of one demand, and the misses that they may have.

    A plan is feasible where, on each trace, the upper Clopper-Pearson bound (95 %) of the share that
    misses is at most ``epsilon``, and no stage is planned busier than 98 %. On a trace too short to tell so small a
    share from nothing, nobody may miss.
    """

    def __init__(
        self,
        graph: Graph,
        slo_s: float,
        epsilon: float,
        arrivals: Sequence[Times],
        *,
        rate_per_s: float | None = None,
        drop: bool = False,
        remember_bytes: int = 1 << 28,
        traced: Callable[[Times, int], Trace] | None = None,
    ) -> None:
        """Draw the chances of each trace. ``rate_per_s``: by default the mean rate of the first.

        ``traced``: who makes a trace of arrivals and the number of its chances, where not ``Trace.draw``.
        """
        self.graph, self.slo_s, self.epsilon, self.drop = graph, slo_s, epsilon, drop
        self.remember_bytes = remember_bytes
        self._traced = traced or partial(Trace.draw, graph)
        self.arrivals = tuple(arrivals)
        first = self.arrivals[0]
        span_s = float(first[-1] - first[0]) if len(first) > 1 else 0.0
        self.rate_per_s = rate_per_s or (len(first) / span_s if span_s > 0 else 0.0)
        self.limits = [max(most_misses(len(each), epsilon), 0) for each in self.arrivals]
        self.runs, self.slack = 0, 0.25
        self._alone: dict[tuple[int, Setting], int] = {}
        self._least: dict[tuple[int, str], int] = {}

    @cached_property
    def simulations(self) -> tuple[Simulation, ...]:
        """The traces, ready to run."""
        return tuple(
            Simulation(self.graph, self._traced(each, seed), self.slo_s, remember_bytes=self.remember_bytes)
            for seed, each in enumerate(self.arrivals)
        )

    def ease(self, settings: Sequence[Setting], more: float) -> None:
        """Let as many miss as ``settings`` do, and ``more`` of a trace's events (a share), where that is more."""
        self.limits = [
            max(limit, each.missed(settings, drop=self.drop) + int(more * len(each.trace)))
            for limit, each in zip(self.limits, self.simulations, strict=True)
        ]

    def fits(self, settings: Sequence[Setting]) -> bool:
        """Tell whether the misses on every trace are few enough."""
        return all(self._missed(number, settings, limit) <= limit for number, limit in enumerate(self.limits))

    def might(self, settings: Sequence[Setting]) -> bool:
        """Tell whether a configuration of which some stages are :func:`ideal` leaves the objective possible.

        A stage that is not ideal may, by handing on its events in better batches, save some misses behind
        it: a share ``slack`` more than allowed pass here.
        """
        return all(
            self._missed(number, settings, loose) <= loose
            for number, loose in enumerate(_loose(limit, self.slack) for limit in self.limits)
        )

    def feasible(self, settings: Sequence[Setting]) -> bool:
        """Tell whether a configuration is feasible, as the class says."""
        return all(self.busy(at, each) <= BUSIEST for at, each in enumerate(settings)) and self.fits(settings)

    def much(self, settings: Sequence[Setting]) -> int:
        """Return the misses on all traces, on each counted to ten times what is allowed."""
        return sum(self._missed(number, settings, 10 * max(limit, 1)) for number, limit in enumerate(self.limits))

    def _missed(self, number: int, settings: Sequence[Setting], limit: int) -> int:
        self.runs += 1
        return self.simulations[number].missed(settings, limit=max(limit, 0), drop=self.drop)

    def miss(self, settings: Sequence[Setting]) -> float:
        """Return the share of events that miss, 0-1, over all traces."""
        missed = [each.missed(settings, drop=self.drop) for each in self.simulations]
        self.runs += len(missed)
        return sum(missed) / max(sum(map(len, self.arrivals)), 1)

    def busy(self, at: int, setting: Setting) -> float:
        """Return how busy a stage would be, 0-1 (or more)."""
        return load(self.graph.stages[at], setting, self.rate_per_s * self.graph.visits[at])

    def alone(self, at: int, setting: Setting) -> int:
        """Return the misses on the planning trace if only this stage ever made anyone wait.

        Every other stage takes its shortest service time on its fastest hardware, for as many events
        at once as come.
        """
        key = (at, setting)
        if key not in self._alone:
            others = [*self.ideal]
            others[at] = setting
            self._alone[key] = self._missed(0, others, max(_loose(self.limits[0], 1.0), 0))
        return self._alone[key]

    @cached_property
    def ideal(self) -> tuple[Setting, ...]:
        """Stages that never make anyone wait."""
        return tuple(ideal(stage) for stage in self.graph.stages)

    def batches(self, at: int, hardware: str, replicas: int) -> list[Setting]:
        """Return the settings worth trying for one stage, the most promising first; none where none can do."""
        stage = self.graph.stages[at]
        options = [Setting(hardware, replicas, batch) for batch in batch_sizes(stage, hardware)]
        options = [each for each in options if self.busy(at, each) <= BUSIEST]
        rated = sorted((self.alone(at, each), each.batch, each) for each in options)
        return [each for misses, _, each in rated if misses <= _loose(self.limits[0], 1.0)]

    def bearing(self, hardware: Sequence[str | None] | None = None, most_busy: float = 0.7) -> tuple[Setting, ...]:
        """Return settings that at least bear the rate, where no objective can be kept: the fastest, at 70 %."""
        found = []
        for at, stage in enumerate(self.graph.stages):
            only = hardware[at] if hardware else None
            kind = min(stage.hardware, key=lambda hw: (bool(only) and hw.name != only, hw.profile.fastest_s))
            batch = max(batch_sizes(stage, kind.name), key=kind.profile.throughput)
            sizes = replica_counts(stage)
            fits = (k for k in sizes if self.busy(at, Setting(kind.name, k, batch)) <= most_busy)
            found.append(Setting(kind.name, next(fits, sizes[-1]), batch))
        return tuple(found)

    def least(self, at: int, hardware: str) -> int | None:
        """Return the fewest replicas with which a stage, alone, leaves the objective possible; None where none do."""
        key = (at, hardware)
        if key not in self._least:
            sizes = replica_counts(self.graph.stages[at])
            low, high = 0, 1
            while high <= len(sizes) and not self.batches(at, hardware, sizes[high - 1]):
                low, high = high, 2 * high
            if high > len(sizes):
                high = len(sizes)
                if not self.batches(at, hardware, sizes[high - 1]):
                    self._least[key] = 0
                    return None
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if self.batches(at, hardware, sizes[middle - 1]) else (middle, high)
            self._least[key] = sizes[high - 1]
        return self._least[key] or None


def _loose(limit: int, slack: float) -> int:
    return limit if limit < 0 else int(limit * (1 + slack)) + 1


def ideal(stage: Stage, hardware: str | None = None) -> Setting:
    """Return the setting of a stage that never makes anyone wait."""
    fastest = min(stage.hardware, key=lambda each: each.profile.fastest_s)
    return Setting(hardware or fastest.name, UNBOUNDED, 1)


def batch_sizes(stage: Stage, hardware: str) -> tuple[int, ...]:
    """Return the batch sizes that a plan may use: those measured, powers of two between them, and the largest."""
    profile = stage.on(hardware).profile
    powers = {2**power for power in range(profile.most.bit_length())}
    return tuple(sorted({1, *powers, *(batch for batch, _ in profile.points)}))


def replica_counts(stage: Stage) -> Sequence[int]:
    """Return the replica counts that a plan may use: for consumers of a topic, the divisors of its partitions."""
    if stage.partitions:
        return [count for count in range(1, stage.partitions + 1) if stage.partitions % count == 0]
    return range(1, _MOST + 1)


_MOST = 4096


def hourly_usd(graph: Graph, settings: Sequence[Setting]) -> float:
    """Return what a configuration costs per hour."""
    return sum(
        stage.on(each.hardware).price_usd_per_hour * each.replicas
        for stage, each in zip(graph.stages, settings, strict=True)
    )
