"""Plans for every rate and burstiness, made when first asked for: what the tuner looks up each second."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.analytic import BUSIEST
from guidevane.control.arrivals import SPREAD, gamma_arrivals
from guidevane.control.plant import Setting
from guidevane.control.quick import quick_plan
from guidevane.control.shedding import ways_s
from guidevane.control.simulation import Chances, Simulation, Trace
from guidevane.control.space import Infeasible
from guidevane.control.trial import Demand, Trial, batch_sizes, hourly_usd, replica_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph, Hardware

STEP = 1.08
"""From one rate of the table to the next."""

CLASSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""The dispersions that are planned for (squared coefficients of variation)."""

_EVENTS = 4000
_ALONE, _NEARLY = 20_000, 0.75
"""Events that are served each by itself, to see how many miss though nobody waits; and which share of what a plan may
miss leaves it no room to speak of."""
_AMPLE = 6
"""Replicas for each that is busy on average, of whom one is nearly always free."""
_LEAST_EPSILON = 2e-4
_SMOOTH = 1
_MOST_PROBES, _MOST_TRIALS = 32, 2
"""Traces kept at once, with what was simulated on them: megabytes each, and a controller lives for months."""
_MORE = 3
ANCHOR, _SCRATCH = 4, 16
"""Plans are searched at each fourth place (from scratch at each sixteenth, around that at the others), a third apart in
rate; what lies between two of them is drawn between their replicas, and tried."""
_SOUGHT = 3
"""Anchors at which one replica each is tried, from what they bear at most downwards: to less than half of it."""
_PARTS = 4
"""What runs is drawn at each fourth part of a place: where few replicas do, rounding up by a step takes one more."""
_SCALED = 0.9
"""Larger pools are busier: from one rate to the next, replicas grow a little less than the rate."""


@dataclass(frozen=True, slots=True)
class Row:
    """What to run for one rate and dispersion. ``feasible`` is False where nothing is, and this is the least bad."""

    rate_per_s: float
    scv: float
    settings: tuple[Setting, ...]
    usd_per_hour: float
    feasible: bool = True


class Table:
    """Plans of one graph on one choice of hardware, never cheaper for a higher rate.

    A row is a function of the graph, the objective and its place alone, not of what was asked before.
    """

    def __init__(
        self,
        graph: Graph,
        slo_s: float,
        epsilon: float,
        hardware: tuple[str, ...] | None = None,
        *,
        drop: bool = True,
        most: float | None = None,
    ) -> None:
        """Start empty. ``hardware``: per stage; None: the cheapest for each row.

        ``most``: the share that may miss at the very most (``epsilon`` where it is not given). It counts where services
        vary so much that ``epsilon`` would be missed though nobody waited.
        """
        self.graph, self.slo_s, self.epsilon, self.hardware, self.drop = graph, slo_s, epsilon, hardware, drop
        self.most = max(epsilon, most or 0.0)
        self._planned: dict[tuple[float, int], Row] = {}
        self._singles: dict[int, int | None] = {}
        self._missed: dict[tuple[tuple[Setting, ...], int, int], float] = {}
        # Not a method of ours: trials that held their table would not go with it, but by a collection far ahead.
        self._traced = Chances(graph)
        self._trials: dict[tuple[float, int], Trial] = {}
        self._probes: dict[tuple[int, int], Simulation] = {}
        self._probed: dict[tuple[object, ...], tuple[float, tuple[float, ...]]] = {}

    def row(self, rate_per_s: float, dispersion: float) -> Row:
        """Return the cheapest row for this rate or a somewhat higher one, at this dispersion's class."""
        at, kind = place(rate_per_s), class_of(dispersion)
        places: list[float] = [at]
        if self.hardware is not None:
            places += range(at + 1, at + _SMOOTH + 1)
            if CLASSES[kind] <= SPREAD:
                places = [*_parts(rate_per_s, at), *places]
        rows = []
        for each in places:
            rows.append(self._row(each, kind))
            if self._cheapest(rows[-1]):
                break
        return min(rows, key=lambda row: (not row.feasible, row.usd_per_hour))

    def usd(self, at: int, dispersion: float) -> float:
        """Return what the row of place ``at`` costs in $ per hour.

        Nothing is cheaper than one replica each: below the highest rate that is borne so, no row is searched.
        """
        if at <= self._bearable:
            single = self._single(class_of(dispersion))
            at = at if single is None else max(at, single)
        return self.row(STEP**at, dispersion).usd_per_hour

    @cached_property
    def _bearable(self) -> float:
        """The highest anchor whose rate one replica of each stage bears, in the batches that bear most."""
        if not self.hardware:
            return -math.inf
        bears = min(
            BUSIEST * max(stage.on(name).profile.throughput(batch) for batch in batch_sizes(stage, name)) / visits
            for stage, name, visits in zip(self.graph.stages, self.hardware, self.graph.visits, strict=True)
            if visits
        )
        return ANCHOR * math.floor(math.log(bears) / math.log(STEP) / ANCHOR)

    def _single(self, kind: int) -> int | None:
        """Return the highest anchor whose row is one replica of each stage; None where the first few are not."""
        if kind not in self._singles:
            highest = int(self._bearable)
            anchors = range(highest, highest - _SOUGHT * ANCHOR, -ANCHOR)
            self._singles[kind] = next((at for at in anchors if self._cheapest(self._row(at, kind))), None)
        return self._singles[kind]

    def miss(self, settings: tuple[Setting, ...], rate_per_s: float, dispersion: float) -> float:
        """Return the share of events that would miss under other settings, as simulated."""
        key = (settings, place(rate_per_s), class_of(dispersion))
        if key not in self._missed:
            self._missed[key] = self._trial(*key[1:]).miss(settings)
        return self._missed[key]

    def probed(self, settings: tuple[Setting, ...], at: int, dispersion: float) -> float:
        """Return the share of events that would miss at the rate of place ``at``: of one trace, for a first look."""
        return self._shed(settings, settings, at, dispersion)[0]

    def shed_s(
        self, settings: tuple[Setting, ...], ordered: tuple[Setting, ...], at: int, dispersion: float
    ) -> tuple[float, ...]:
        """Return who is dropped at the rate of place ``at`` so that fewest miss, of what ``shedding.ways_s`` names.

        ``settings`` serve; ``ordered``: the same with all replicas that were ordered.
        """
        return self._shed(settings, ordered, at, dispersion)[1]

    def _shed(
        self, settings: tuple[Setting, ...], ordered: tuple[Setting, ...], at: int, dispersion: float
    ) -> tuple[float, tuple[float, ...]]:
        key = (at, class_of(dispersion))
        if (settings, ordered, *key) not in self._probed:
            if key not in self._probes:
                if len(self._probes) > _MOST_PROBES:
                    self._probes.pop(next(iter(self._probes)))
                scv = CLASSES[key[1]]
                arrivals = gamma_arrivals(STEP**at, scv, int(_EVENTS * _longer(scv)), 3)
                trace = self._traced(arrivals, 3)
                self._probes[key] = Simulation(self.graph, trace, self.slo_s, remember_bytes=1 << 20)
            probe, ways = self._probes[key], ways_s(self.graph, settings, STEP**at, self.slo_s, ordered)
            self._probed[settings, ordered, *key] = min(
                ((probe.missed(settings, drop=self.drop, ahead_s=each) / len(probe.trace), each) for each in ways),
                key=lambda found: found[0],
            )
        return self._probed[settings, ordered, *key]

    @cached_property
    def _alone(self) -> float:
        """The share that misses though nobody waits: services vary, and the objective lies close to the floor."""
        quickest = zip(self.graph.stages, self._quickest, strict=True)
        apart_s = 2 * sum(stage.on(each.hardware).profile.latency_s(1) for stage, each in quickest)
        trace = Trace.draw(self.graph, np.arange(_ALONE, dtype=np.float64) * apart_s, 3)
        return Simulation(self.graph, trace, self.slo_s).run(self._quickest).miss

    @property
    def _quickest(self) -> tuple[Setting, ...]:
        kinds = self.hardware or [min(stage.hardware, key=_latency_s).name for stage in self.graph.stages]
        return tuple(Setting(kind, 1, 1) for kind in kinds)

    def _eased(self, trial: Trial) -> Trial:
        """Return the trial; where nobody may wait, what misses all the same may, and half of what ``most`` leaves."""
        least = max(trial.limits[0], 0) / len(trial.arrivals[0])
        if _NEARLY * least < self._alone <= self.most:
            ample = [
                replace(each, replicas=stage.partitions or math.ceil(_AMPLE * (trial.busy(at, each) + 1)))
                for at, (stage, each) in enumerate(zip(self.graph.stages, self._quickest, strict=True))
            ]
            trial.ease(ample, (self.most - self._alone) / 2)
        return trial

    def _trial(self, at: float, kind: int) -> Trial:
        key = (at, kind)
        if key not in self._trials:
            if len(self._trials) > _MOST_TRIALS:
                self._trials.pop(next(iter(self._trials)))
            # A share that small needs a longer trace to be told from nothing.
            epsilon = max(self.epsilon, _LEAST_EPSILON)
            events = max(_EVENTS, int(4 / epsilon))
            demand = Demand(STEP**at, CLASSES[kind], events=events, seeds=(1, 2))
            trial = Trial(
                self.graph, self.slo_s, epsilon, demand.traces(), rate_per_s=STEP**at, drop=self.drop,
                remember_bytes=1 << 22, traced=self._traced,
            )  # fmt: skip
            self._trials[key] = self._eased(trial)
        return self._trials[key]

    def _tougher(self, trial: Trial, settings: tuple[Setting, ...], at: int, scv: float) -> tuple[Setting, ...]:
        """Return a feasible plan of the same replicas with batches that miss least where a fourth more comes."""
        best, least = settings, self.probed(settings, at + _MORE, scv)
        for number, stage in enumerate(self.graph.stages):
            for batch in batch_sizes(stage, best[number].hardware):
                if not least:
                    return best
                other = (*best[:number], replace(best[number], batch=batch), *best[number + 1 :])
                if batch <= best[number].batch or self.probed(other, at + _MORE, scv) >= least:
                    continue
                if trial.feasible(other):
                    best, least = other, self.probed(other, at + _MORE, scv)
        return best

    def _cheapest(self, row: Row) -> bool:
        """Tell whether nothing can be cheaper: a plan of one replica of each stage, where hardware is no choice."""
        return self.hardware is not None and row.feasible and all(each.replicas == 1 for each in row.settings)

    def _near(self, at: int, kind: int) -> tuple[Setting, ...] | None:
        """Return the settings that the plan of an anchor is searched around: those of one below, for its rate."""
        over = at % _SCRATCH
        if self.hardware is None or not over:
            return None
        below = self._row(at - over, kind)
        if not below.feasible:
            return None
        return self._rounded(below.settings, [each.replicas * STEP ** (over * _SCALED) for each in below.settings])

    def _rounded(self, settings: tuple[Setting, ...], wanted: Sequence[float]) -> tuple[Setting, ...]:
        """Return settings with at least the replicas that are wanted, as many as a plan may have."""
        rounded = []
        for stage, each, least in zip(self.graph.stages, settings, wanted, strict=True):
            sizes = replica_counts(stage)
            rounded.append(replace(each, replicas=next((size for size in sizes if size >= least - 1e-9), sizes[-1])))
        return tuple(rounded)

    def _between(self, at: float, kind: int) -> Row:
        """Return the row of a place between two anchors: the upper one's batches, with fewer replicas if they do."""
        anchor = ANCHOR * math.floor(at / ANCHOR)
        high = self._row(anchor + ANCHOR, kind)
        if not high.feasible or self._cheapest(high):
            return replace(high, rate_per_s=STEP**at)
        low = self._row(anchor, kind)
        if not low.feasible:
            return replace(high, rate_per_s=STEP**at)
        share = (STEP ** (at - anchor) - 1) / (STEP**ANCHOR - 1)
        wanted = [
            min(one.replicas, two.replicas) + share * max(two.replicas - one.replicas, 0)
            for one, two in zip(low.settings, high.settings, strict=True)
        ]
        best = high.settings
        found = self._rounded(high.settings, wanted)
        if hourly_usd(self.graph, found) < high.usd_per_hour and self._trial(at, kind).feasible(found):
            best = found
        prices = [
            stage.on(each.hardware).price_usd_per_hour for stage, each in zip(self.graph.stages, best, strict=True)
        ]
        for number in sorted(range(len(best)), key=lambda each: -prices[each]):
            sizes = replica_counts(self.graph.stages[number])
            size = sizes.index(best[number].replicas)
            if size and best[number].replicas > low.settings[number].replicas:
                best = self._fewer(self._trial(at, kind), best, number, sizes[size - 1]) or best
        return Row(STEP**at, CLASSES[kind], best, hourly_usd(self.graph, best))

    def _fewer(
        self, trial: Trial, settings: tuple[Setting, ...], number: int, replicas: int
    ) -> tuple[Setting, ...] | None:
        """Return feasible settings with so many replicas of a stage, with its batch or another; None where none is."""
        kept = replace(settings[number], replicas=replicas)
        others = trial.batches(number, kept.hardware, replicas)
        for each in dict.fromkeys((kept, *sorted(others, key=lambda each: -each.batch))):
            fewer = (*settings[:number], each, *settings[number + 1 :])
            if trial.feasible(fewer):
                return fewer
        return None

    def _row(self, at: float, kind: int) -> Row:
        key = (at, kind)
        if key in self._planned:
            return self._planned[key]
        if self.hardware is not None and at % ANCHOR:
            # Of heaps, a rate tells how often they come, hardly what they take: the next anchor's row will do.
            heaps, above = CLASSES[kind] > SPREAD, ANCHOR * math.ceil(at / ANCHOR)
            self._planned[key] = self._row(above, kind) if heaps else self._between(at, kind)
        else:
            self._planned[key] = self._searched(int(at), kind)
        return self._planned[key]

    def _searched(self, at: int, kind: int) -> Row:
        rate, scv = STEP**at, CLASSES[kind]
        trial = self._trial(at, kind)
        try:
            near = self._near(at, kind)
            settings = self._tougher(trial, quick_plan(trial, self.hardware, near=near), at, scv)
        except Infeasible:
            settings = trial.bearing(self.hardware)
            return Row(rate, scv, settings, hourly_usd(self.graph, settings), feasible=False)
        return Row(rate, scv, settings, hourly_usd(self.graph, settings))


def _latency_s(hardware: Hardware) -> float:
    return hardware.profile.latency_s(1)


def _longer(scv: float) -> float:
    """Return how many times as long a probe is where events come in heaps: it shall hold many of them."""
    return min(max(scv / 16, 1.0), 2.0)


def place(rate_per_s: float) -> int:
    """Return the place of the first rate of the table that is not below ``rate_per_s``."""
    return math.ceil(math.log(max(rate_per_s, 0.05)) / math.log(STEP) - 1e-9)


def _parts(rate_per_s: float, at: int) -> list[float]:
    """Return what lies between a rate and its place ``at``, in parts of a place."""
    exact = math.log(max(rate_per_s, 0.05)) / math.log(STEP)
    return [part / _PARTS for part in range(math.ceil(exact * _PARTS - 1e-9), at * _PARTS)]


def class_of(dispersion: float) -> int:
    """Return the class that a measured dispersion belongs to: the first not below it by more than its noise."""
    return next((at for at, scv in enumerate(CLASSES) if scv >= dispersion / 1.4), len(CLASSES) - 1)
