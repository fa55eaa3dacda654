"""The oracle: the cheapest schedule that this search finds for arrivals it knows beforehand, ways and jitter included.

A schedule says how many replicas each stage has in each second, on one kind of hardware and with one largest batch a
stage for the whole run; launches cost from when they are ordered, a start-up before they serve, as for everybody. One
replica of each stage always stays, as with every policy. It keeps the objective exactly: a schedule counts only if the
plant, played with the very draws of the run, misses at most ε of the events, all of ε being there to be used up.

Search, by simulation of the whole run: (1) capacity follows the rate of the arrivals to come, smoothed over 2 to 60 s
around each second, at a load found by bisection; per level of replicas, a gap shorter than the start-up is kept, as
that is cheaper than to launch again; (2) each stage's load and batch are moved as long as that saves; (3) stretches of
single replicas are left out or cut short, those first that cost no miss. What orders alone make dearer than the best
so far is not simulated. The search ends after a number of simulations, or where long runs make those dear, after so
much simulated work; both are counted, never timed. The best of it is the reference: no proven minimum, but below
whoever sees only the past. Should a policy that keeps the objective be cheaper all the same, its own cost takes the
oracle's place (``comparing``): who knows the future could have done what it did.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.plant import Action, Setting
from guidevane.control.shedding import ahead_s
from loadtests.steering.plant import trial
from loadtests.steering.plant.cluster import MOST_REPLICAS, least_ahead_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from guidevane.control.plant import Observation
    from loadtests.steering.baselines.inferline import Plan
    from loadtests.steering.case import Case
    from loadtests.steering.plant.columns import Floats, Ints

SMOOTH_S = (10, 5, 20, 2, 60)
"""Those in the middle are mostly the cheapest: what is found first spares the others most simulations."""
_WORK, _MOST = 300e6, 200
"""Of the search: 200 simulations, or 300 million visits of a stage by an event, some minute of one core."""
_LEAST_LOAD, _MOST_LOAD = 0.05, 1.3
_BISECTIONS = 7
_SAME_USD = 1e-12
FULL_PER_S = 1e9


def shed_by(case: Case, schedule: Schedule) -> tuple[float, ...]:
    """Return what events are shed by: the least time that is left, or, as where too much comes, full batches'."""
    if not schedule.full:
        return least_ahead_s(case.graph)
    return ahead_s(case.graph, [schedule.plan[name] for name in case.graph.names], FULL_PER_S, case.slo_s)


def kept(needed: Ints, startup_s: float) -> Ints:
    """Return the replicas to be ordered, int64[T], so that ``needed`` int64[T] serve, at the least replica-seconds.

    Each level of replicas for itself: a gap of at most a start-up is bridged, what serves from t is ordered a
    start-up before (what is ordered at 0 stands at once).

    >>> kept(np.array([1, 1, 2, 1, 1, 1, 1, 2, 1]), 2.0).tolist()
    [2, 2, 2, 1, 1, 2, 2, 2, 1]
    >>> kept(np.array([1, 2, 1, 2, 1]), 2.0).tolist()
    [2, 2, 2, 2, 1]
    """
    lead = int(np.ceil(startup_s))
    ordered = np.zeros_like(needed)
    for level in range(1, int(needed.max()) + 1):
        for begin, end in stretches(needed >= level, lead):
            ordered[max(begin - lead, 0) : end] += 1
    return ordered


def stretches(on: np.ndarray, bridge: int) -> list[tuple[int, int]]:
    """Return [begin, end) of the stretches that are on, those no more than ``bridge`` apart taken as one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    found: list[tuple[int, int]] = []
    for begin, end in edges.reshape(-1, 2).tolist():
        if found and begin - found[-1][1] <= bridge:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


@dataclass(frozen=True)
class Schedule:
    """Replicas that shall serve, int64[T, S], on the hardware and with the batches of ``plan``; shed or not."""

    plan: Plan
    needed: Ints
    cost_usd: float = np.inf
    missed: int = 0
    shed: bool = False
    full: bool = False
    """Whether events are shed by full batches (``shed_by``)."""


class Search:
    """One search for one case, from hardware and batches of ``plans``; ``told`` hears what share (0-1) is done."""

    def __init__(
        self, case: Case, plans: Sequence[Plan], *, work: float = _WORK, told: Callable[[float], None] | None = None
    ) -> None:
        self.case, self.scene, self.graph, self.plans = case, case.scene, case.graph, plans
        self.seconds = int(case.length_s)
        self.left, self.runs_left, self.work = work, _MOST, work
        self.told = told or (lambda _: None)
        at = np.minimum(case.arrivals_s.astype(np.int64), self.seconds - 1)
        coming = case.scene.draws.need > 0
        self.counts = np.stack(
            [np.bincount(at[coming[:, s]], minlength=self.seconds) for s in range(len(self.graph.stages))], axis=1
        )
        self.smoothed: dict[int, Floats] = {}

    @property
    def share_left(self) -> float:
        """How much of the search may still be done, 0-1."""
        return max(min(self.left / self.work, self.runs_left / _MOST), 0.0)

    def rates(self, smooth_s: int) -> Floats:
        """Return the rate at each stage, float64[T, S], as a mean over ``smooth_s`` around each second."""
        if smooth_s not in self.smoothed:
            total = np.concatenate([np.zeros((1, self.counts.shape[1])), np.cumsum(self.counts, axis=0)])
            at = np.arange(self.seconds)
            low, high = np.maximum(at - smooth_s // 2, 0), np.minimum(at + (smooth_s + 1) // 2, self.seconds)
            self.smoothed[smooth_s] = (total[high] - total[low]) / (high - low)[:, None]
        return self.smoothed[smooth_s]

    def needed(self, plan: Plan, smooth_s: int, load: Floats) -> Ints:
        """Return the replicas that bear the smoothed rates when busy ``load`` float64[S] of the time."""
        borne = [self.graph.stage(name).on(each.hardware).profile.throughput(each.batch) for name, each in plan.items()]
        most = [self.graph.stage(name).partitions or MOST_REPLICAS for name in plan]
        asked = np.ceil(self.rates(smooth_s) / (np.asarray(borne) * load) - 1e-9)
        return np.clip(asked, 1, most).astype(np.int64)

    def orders(self, plan: Plan, needed: Ints) -> Ints:
        """Return the replicas that are ordered so that ``needed`` serve, int64[T, S]."""
        hardware = [self.graph.stage(name).on(each.hardware) for name, each in plan.items()]
        return np.stack([kept(needed[:, s], hw.startup_s) for s, hw in enumerate(hardware)], axis=1)

    def least_usd(self, plan: Plan, orders: Ints) -> float:
        """Return what orders cost at least: as much as if nobody who is told to leave had a batch to finish."""
        prices = [self.graph.stage(name).on(each.hardware).price_usd_per_hour for name, each in plan.items()]
        return float(orders.sum(axis=0) @ np.asarray(prices)) / 3600

    def tried(self, schedule: Schedule, below_usd: float = np.inf, most: int | None = None) -> Schedule:
        """Return the schedule with its misses, and its cost: inf where it misses ``most``, or is not ``below_usd``."""
        orders = self.orders(schedule.plan, schedule.needed)
        if self.least_usd(schedule.plan, orders) >= below_usd - _SAME_USD:
            return replace(schedule, cost_usd=np.inf)
        replicas = np.zeros((self.seconds, len(self.graph.stages), self.scene.kinds), dtype=np.int64)
        batch = np.zeros_like(replicas)
        for s, (name, setting) in enumerate(schedule.plan.items()):
            h = [hw.name for hw in self.graph.stage(name).hardware].index(setting.hardware)
            replicas[:, s, h] = orders[:, s]
            batch[:, s, h] = setting.batch
        shed = np.asarray(shed_by(self.case, schedule)) if schedule.shed else None
        allowed = self.case.allowed if most is None else most
        late, cost, work = trial.misses(self.scene, replicas, batch, most=allowed, shed=shed)
        self.left -= work
        self.runs_left -= 1
        self.told(1 - self.share_left)
        return replace(schedule, missed=late, cost_usd=cost)

    def loaded(
        self, plan: Plan, smooth_s: int, shares: Floats, *, below_usd: float = np.inf, full: bool = False
    ) -> tuple[Schedule, Floats] | None:
        """Return the cheapest feasible schedule at ``shares`` of a load found by bisection, and the loads.

        None where there is none below ``below_usd``.
        """

        def at(load: float) -> Schedule:
            return Schedule(plan, self.needed(plan, smooth_s, load * shares), shed=True, full=full)

        def too_dear(load: float) -> bool:
            orders = self.orders(plan, at(load).needed)
            return self.least_usd(plan, orders) >= below_usd - _SAME_USD

        low, high = _LEAST_LOAD, _MOST_LOAD
        if too_dear(high):
            return None
        best: Schedule | None = None
        least = low
        if known := below_usd < np.inf and too_dear(low):
            # Only loads that are cheaper than what is known are of interest: begin with the least of them.
            dear, low = low, high
            for _ in range(2 * _BISECTIONS):
                middle = (dear + low) / 2
                dear, low = (middle, low) if too_dear(middle) else (dear, middle)
        for step in range(_BISECTIONS):
            first = known and step == 0
            middle = low if first else (low + high) / 2 if best else (low * high) ** 0.5
            found = self.tried(at(middle), below_usd)
            if found.cost_usd < np.inf:
                low, best = middle, found if best is None or found.cost_usd < best.cost_usd else best
                least = middle
            elif first:
                return None
            else:
                high = middle
            if self.share_left <= 0:
                break
        return None if best is None or best.cost_usd >= below_usd else (best, least * shares)

    def run(self) -> Schedule | None:
        """Search; None where no schedule keeps the objective."""
        even = np.ones(len(self.graph.stages))
        found: tuple[Schedule, Floats] | None = None
        smooth = 0
        for plan, smooth_s in itertools.product(self.plans, SMOOTH_S):
            below = found[0].cost_usd if found else np.inf
            if self.share_left > 0 and (loaded := self.loaded(plan, smooth_s, even, below_usd=below)):
                found, smooth = loaded, smooth_s
        if found is None:
            return None
        best, load = found
        if other := self.loaded(best.plan, smooth, even, below_usd=best.cost_usd, full=True):
            best, load = other
        return self.trimmed(self.moved(best, smooth, load))

    def moved(self, best: Schedule, smooth_s: int, load: Floats) -> Schedule:
        """Move each stage's load and batch as long as that saves, with less than half of what is left of the search."""
        reserve, idle = self.share_left * 0.6, 0
        for s in itertools.cycle(range(len(self.graph.stages))):
            if idle > len(self.graph.stages) or self.share_left <= reserve:
                return best
            idle += 1
            for option, moved_load in self._moves(best, smooth_s, load, s):
                if self.share_left <= reserve:
                    return best
                found = self.tried(option, best.cost_usd)
                if found.cost_usd < best.cost_usd - _SAME_USD:
                    best, load, idle = found, moved_load, 0
                    break
        return best

    def _moves(self, best: Schedule, smooth_s: int, load: Floats, s: int) -> Iterator[tuple[Schedule, Floats]]:
        name = self.graph.names[s]
        setting = best.plan[name]
        most = self.graph.stage(name).on(setting.hardware).profile.most
        batches = {setting.batch, min(setting.batch + 1, most), max(setting.batch - 1, 1), min(2 * setting.batch, most)}
        for factor, batch in itertools.product((1.25, 1.08, 1.03, 1.0), sorted(batches)):
            if factor == 1.0 and batch == setting.batch:
                continue
            shares = load.copy()
            shares[s] *= factor
            plan = {**best.plan, name: Setting(setting.hardware, setting.replicas, batch)}
            needed = self.needed(plan, smooth_s, shares)
            if not np.array_equal(needed, best.needed) or batch != setting.batch:
                yield replace(best, plan=plan, needed=needed), shares

    def trimmed(self, best: Schedule) -> Schedule:
        """Leave stretches of single replicas out, or a quarter of one: first what costs no miss, then the others."""
        for free in (True, False):
            for s, level, begin, end in self._cuts(best):
                if self.share_left <= 0:
                    return best
                if best.needed[begin:end, s].max() < level:
                    continue
                needed = best.needed.copy()
                needed[begin:end, s] = np.minimum(needed[begin:end, s], level - 1)
                found = self.tried(replace(best, needed=needed), best.cost_usd, best.missed if free else None)
                if found.cost_usd < best.cost_usd - _SAME_USD:
                    best = found
        return best

    def _cuts(self, best: Schedule) -> list[tuple[int, int, int, int]]:
        """Return (stage, level, begin, end) of what may be left out, the dearest first."""
        found: list[tuple[float, tuple[int, int, int, int]]] = []
        for s, (name, setting) in enumerate(best.plan.items()):
            hw = self.graph.stage(name).on(setting.hardware)
            for level in range(2, int(best.needed[:, s].max()) + 1):
                for begin, end in stretches(best.needed[:, s] >= level, int(np.ceil(hw.startup_s))):
                    quarter = (end - begin) // 4
                    for low, high in ((begin, end), (begin, begin + quarter), (end - quarter, end)):
                        if high > low:
                            found.append((hw.price_usd_per_hour * (high - low), (s, level, low, high)))
        return [cut for _, cut in sorted(found, key=lambda each: -each[0])]


@dataclass(frozen=True)
class Oracle:
    """Plays a schedule: the one policy that was told the future."""

    case: Case
    schedule: Schedule

    def __call__(self, seen: Observation, memory: object) -> tuple[Action, object]:
        """Order what was planned for this second."""
        ordered = memory if isinstance(memory, list) else self._orders()
        at = min(int(seen.time_s), len(ordered) - 1)
        held = at > 0 and ordered[at] == ordered[at - 1]
        ahead = dict(zip(self.case.graph.names, shed_by(self.case, self.schedule), strict=True))
        return Action(ordered[at], "foreseen", shed=self.schedule.shed, ahead_s=ahead, held=held), ordered

    def _orders(self) -> list[Plan]:
        columns = {
            name: kept(self.schedule.needed[:, s], self.case.graph.stage(name).on(setting.hardware).startup_s)
            for s, (name, setting) in enumerate(self.schedule.plan.items())
        }
        return [
            {name: replace(setting, replicas=int(columns[name][t])) for name, setting in self.schedule.plan.items()}
            for t in range(self.schedule.needed.shape[0])
        ]
