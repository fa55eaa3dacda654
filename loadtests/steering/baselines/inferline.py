"""InferLine (Crankshaw et al., SoCC 2020): a greedy planner over a sample trace, and a tuner that watches its envelope.

Re-implemented from the paper; no code of its authors was published. Planner: batch 1 on the fastest hardware, replicas
added at the bottleneck until the simulated miss share is allowed; then, again and again, the feasible one of
{double the batch, remove a replica, cheaper hardware} that saves most. Tuner: the traffic envelope r_i is the
most arrivals in any window ΔT_i over ΔT_i, for ΔT from the pipeline's service time doubling to 60 s. Where a live r_i
exceeds the planned one, k_m = ceil(r_max s_m / (μ_m rho_m)) at once; 15 s after the last change, down to
k_m = ceil(λ s_m / (μ_m rho)) with λ the highest 5 s rate of the last 30 s.

Two departures, both to its advantage: windows are counted in halves of seconds, as all that is observed is, so peaks of
0.1 s do not become rates; and where the paper has rho = min over all models on the way down, ``rho="own"`` takes
each model's own (``"least"`` is the letter of the paper, and dearer).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from guidevane.control.plant import Action, Setting
from loadtests.steering.plant import trial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.control.graph import Graph, Hardware, Stage
    from guidevane.control.plant import Observation
    from loadtests.steering.plant.cluster import Scene
    from loadtests.steering.plant.columns import Floats

Plan = dict[str, Setting]
LONGEST_S, DOWN_AFTER_S, RECENT_S, RATE_S, BIN_S = 60.0, 15.0, 30.0, 5.0, 0.5
_MOST_ADDED = 400
WORK = 60e6
"""Of one plan, in visits of a stage by an event: some twenty seconds of one core."""
_BUSIEST = 0.98
_SAME_USD = 1e-12


def usd_per_hour(graph: Graph, plan: Mapping[str, Setting]) -> float:
    """Return what a plan costs."""
    return sum(each.replicas * graph.stage(name).on(each.hardware).price_usd_per_hour for name, each in plan.items())


def capacity(graph: Graph, plan: Mapping[str, Setting]) -> dict[str, float]:
    """Return, by stage, the events per second *into the pipeline* that its replicas bear; inf where none come."""
    return {
        name: each.replicas * graph.stage(name).on(each.hardware).profile.throughput(each.batch) / visits
        if visits > 0
        else math.inf
        for (name, each), visits in zip(plan.items(), graph.visits, strict=True)
    }


class Planner:
    """The greedy planner of one sample trace.

    What a plan did is remembered. After ``work`` (see ``plant.trial``) stages are no longer started over on cheaper
    hardware, which is most of the work where stages are many: a plan is then what removing and doubling make of it.
    """

    def __init__(self, scene: Scene, epsilon: float, *, work: float = WORK) -> None:
        self.scene, self.graph, self.left = scene, scene.graph, work
        self.allowed = int(epsilon * scene.arrivals_s.size + 1e-9)
        self.rate = scene.arrivals_s.size / scene.length_s
        self.simulations = 0
        self.known: dict[tuple[Setting, ...], bool] = {}

    def feasible(self, plan: Plan) -> bool:
        """Tell whether the sample trace keeps the objective on this plan."""
        key = tuple(plan[name] for name in self.graph.names)
        if key not in self.known:
            self.known[key] = self._feasible(plan)
        return self.known[key]

    def _feasible(self, plan: Plan) -> bool:
        if min(capacity(self.graph, plan).values()) * _BUSIEST < self.rate:
            return False
        path = [each.profile.latency_s(1) for each in self._hardware(plan)]
        if self.graph.path_s(path) > self.scene.deadline_s:
            return False
        self.simulations += 1
        tried = trial.misses(self.scene, *trial.constant(self.scene, plan), most=self.allowed)
        self.left -= tried.work
        return tried.missed <= self.allowed

    def _hardware(self, plan: Plan) -> list[Hardware]:
        return [self.graph.stage(name).on(each.hardware) for name, each in plan.items()]

    def plan(self) -> Plan:
        """Return the plan; where nothing is feasible, one that bears the rate with a fifth to spare."""
        plan: Plan = {}
        for stage, visits in zip(self.graph.stages, self.graph.visits, strict=True):
            fastest = min(stage.hardware, key=lambda hw: hw.profile.latency_s(1))
            # Up to here each stage would be the bottleneck in its turn, and no plan feasible.
            least = math.ceil(self.rate * visits / (_BUSIEST * fastest.profile.throughput(1)))
            plan[stage.name] = Setting(fastest.name, max(least, 1), 1)
        for _ in range(_MOST_ADDED):
            if self.feasible(plan):
                return self.cheaper(plan)
            borne = capacity(self.graph, plan)
            worst = min(borne, key=lambda name: borne[name])
            plan[worst] = replace(plan[worst], replicas=plan[worst].replicas + 1)
        return bearing(self.graph, self.rate)

    def cheaper(self, plan: Plan, only: str = "") -> Plan:
        """Take the action that saves most until none does; ``only`` one model's, where it is named."""
        while True:
            options = [
                option
                for stage in self.graph.stages
                if not only or stage.name == only
                for option in self._options(plan, stage, hardware=not only)
            ]
            now = usd_per_hour(self.graph, plan)
            saving = sorted(
                (each for each in options if usd_per_hour(self.graph, each) < now - _SAME_USD),
                key=lambda each: usd_per_hour(self.graph, each),
            )
            same = [each for each in options if abs(usd_per_hour(self.graph, each) - now) <= _SAME_USD]
            chosen = next((each for each in (*saving, *same) if self.feasible(each)), None)
            if chosen is None:
                return plan
            plan = chosen

    def _options(self, plan: Plan, stage: Stage, *, hardware: bool) -> list[Plan]:
        setting = plan[stage.name]
        profile = stage.on(setting.hardware).profile
        options = []
        if setting.replicas > 1:
            options.append({**plan, stage.name: replace(setting, replicas=setting.replicas - 1)})
        double = min(2 * setting.batch, profile.most)
        if double > setting.batch and profile.throughput(double) > profile.throughput(setting.batch):
            options.append({**plan, stage.name: replace(setting, batch=double)})
        price = stage.on(setting.hardware).price_usd_per_hour
        for hw in stage.hardware if hardware else ():
            if hw.price_usd_per_hour < price:
                options += self._downgraded(plan, stage.name, hw.name)
        return options

    def _downgraded(self, plan: Plan, name: str, hardware: str) -> list[Plan]:
        """Start one model over on cheaper hardware, as the whole pipeline was started."""
        most = usd_per_hour(self.graph, plan)
        setting = Setting(hardware, 1, 1)
        while self.left > 0 and usd_per_hour(self.graph, moved := {**plan, name: setting}) < most:
            if self.feasible(moved):
                return [self.cheaper(moved, only=name)]
            setting = replace(setting, replicas=setting.replicas + 1)
        return []


def bearing(graph: Graph, rate_per_s: float, *, busy: float = 0.8) -> Plan:
    """Return the cheapest plan whose every stage is busy at most ``busy`` of the time, whatever the latency."""
    plan: Plan = {}
    for stage, visits in zip(graph.stages, graph.visits, strict=True):
        options = []
        for hw in stage.hardware:
            batch = max(range(1, hw.profile.most + 1), key=hw.profile.throughput)
            replicas = max(math.ceil(rate_per_s * visits / (busy * hw.profile.throughput(batch))), 1)
            options.append((replicas * hw.price_usd_per_hour, Setting(hw.name, replicas, batch)))
        plan[stage.name] = min(options, key=lambda each: each[0])[1]
    return plan


def windows(shortest_s: float) -> tuple[int, ...]:
    """Return the envelope's windows in bins of half a second, doubling, the last one 60 s.

    >>> windows(0.3)
    (1, 2, 4, 8, 16, 32, 64, 120)
    """
    sizes = [max(math.ceil(shortest_s / BIN_S - 1e-9), 1)]
    while 2 * sizes[-1] * BIN_S < LONGEST_S:
        sizes.append(2 * sizes[-1])
    return (*sizes, int(LONGEST_S / BIN_S))


def envelope(counts: Sequence[int] | Floats, sizes: Sequence[int], *, latest: bool = False) -> list[float]:
    """Return the highest rate in any window of each size (of ``latest``, in the last one), events per second.

    >>> envelope([1, 3, 0, 2], [1, 2, 8])
    [6.0, 4.0, 1.5]
    """
    total = np.concatenate([[0], np.cumsum(counts)])
    rates = []
    for size in sizes:
        width = min(size, len(counts))
        inside = total[width:] - total[:-width] if width else total
        most = float(inside[-1] if latest else inside.max())
        rates.append(most / (size * BIN_S))
    return rates


@dataclass(frozen=True, slots=True)
class Watched:
    """Replicas now, when they last changed, and the counts of the last minute."""

    replicas: Mapping[str, int]
    changed_s: float = 0.0
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class InferLine:
    """The tuner, over a plan and the sample trace that it was made for."""

    graph: Graph
    start: Mapping[str, Setting]
    planned: tuple[float, ...]
    sizes: tuple[int, ...]
    rate_per_s: float
    rho: Literal["own", "least"] = "own"

    @classmethod
    def of(cls, scene: Scene, epsilon: float, *, rho: Literal["own", "least"] = "own") -> InferLine:
        """Plan with a scene as the sample trace, and take its envelope."""
        plan = Planner(scene, epsilon).plan()
        graph = scene.graph
        service_s = graph.path_s([graph.stage(n).on(s.hardware).profile.latency_s(s.batch) for n, s in plan.items()])
        sizes = windows(service_s)
        bins = max(int(scene.length_s / BIN_S), 1)
        counts = np.histogram(scene.arrivals_s, bins=bins, range=(0.0, bins * BIN_S))[0]
        rate = scene.arrivals_s.size / scene.length_s
        return cls(graph, plan, tuple(envelope(counts, sizes)), sizes, rate, rho)

    def busy(self) -> dict[str, float]:
        """Return rho_m of the plan: the planned rate over what each model's replicas bear, at most 1."""
        return {name: min(self.rate_per_s / borne, 1.0) for name, borne in capacity(self.graph, self.start).items()}

    def replicas(self, rate_per_s: float, busy: Callable[[str], float]) -> dict[str, int]:
        """Return k_m = ceil(rate · s_m / (μ_m rho_m)), at least 1."""
        one = capacity(self.graph, {name: replace(each, replicas=1) for name, each in self.start.items()})
        return {
            name: max(math.ceil(rate_per_s / (one[name] * busy(name)) - 1e-9), 1) if busy(name) > 0 else 1
            for name in self.start
        }

    def __call__(self, seen: Observation, memory: Watched | None) -> tuple[Action, Watched]:
        """Compare envelopes; up at once, down with patience."""
        was = memory or Watched({name: each.replicas for name, each in self.start.items()})
        counts = (*was.counts, *seen.counts)[-int(LONGEST_S / BIN_S) :]
        now, busy = seen.time_s, self.busy()
        live = envelope(counts, self.sizes, latest=True) if counts else [0.0] * len(self.sizes)
        above = [rate for rate, planned in zip(live, self.planned, strict=True) if rate > planned]
        replicas, reason = dict(was.replicas), "within the envelope"
        if above:
            asked = self.replicas(max(above), busy.__getitem__)
            replicas = {name: max(k, asked[name]) for name, k in replicas.items()}
            reason = f"{max(above):.0f}/s is outside the planned envelope"
        elif now - was.changed_s >= DOWN_AFTER_S and len(counts) >= RECENT_S / BIN_S:
            recent = envelope(counts[-int(RECENT_S / BIN_S) :], [int(RATE_S / BIN_S)])[0]
            least = min(busy.values())
            asked = self.replicas(recent, busy.__getitem__ if self.rho == "own" else lambda _: least)
            replicas = {name: min(k, asked[name]) for name, k in replicas.items()}
            reason = f"at most {recent:.0f}/s lately"
        held = replicas == was.replicas
        settings = {name: replace(each, replicas=replicas[name]) for name, each in self.start.items()}
        after = Watched(replicas, was.changed_s if held else now, counts)
        return Action(settings, reason, held=held), after
