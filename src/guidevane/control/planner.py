"""The cheapest configuration that keeps an objective: exact where the search ends, with its gap where it does not.

Best-first by cost over hardware and replicas; for each of those, batch sizes stage by stage, the
dearest stages first, the others taken as if nobody ever waited there. Stages that are infeasible
even so must have more replicas, whatever the others have: that closes all configurations with no
more of them. ``proved`` rests on one assumption: a stage that makes events wait never saves, by
handing them on in better batches, more than a quarter of the allowed misses behind it. Without
batches it saves none; with them it sometimes does, so that a second pass looks there with a
looser bound. The tests hold the planner to brute force.

Upper bounds, and answers at any time: InferLine's greedy planner (Crankshaw et al., SoCC 2020,
algorithm 1), and a dive from the lower bound that adds what saves most misses per dollar.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TYPE_CHECKING

from guidevane.control.greedy import greedy
from guidevane.control.plant import Setting
from guidevane.control.reasons import alone, together
from guidevane.control.trial import hourly_usd, replica_counts
from guidevane.control.walk import Walk
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guidevane.control.trial import Trial

_NODE_RUNS = 400
_DIVES, _DIVE_RUNS, _LOOKED_AT = 3, 60, 100
_AMPLE = 6
"""Replicas for each that is busy on average, of whom one is nearly always free."""
_MOST_VECTORS = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration, one setting per stage in the graph's order, and what is known of it.

    ``gap``: by how much cheaper (a share of ``usd_per_hour``) another could be at most; 0 where ``proved``.
    """

    settings: tuple[Setting, ...]
    usd_per_hour: float
    proved: bool
    gap: float
    simulations: int


class Infeasible(Misconfigured):
    """No configuration keeps the objective; the message says which stage is in the way, and by how much."""


def plan(
    trial: Trial, *, most_runs: int = 3000, hardware: Sequence[str | None] | None = None, with_greedy: bool = True
) -> Plan:
    """Return the cheapest feasible configuration of a trial.

    ``most_runs`` bounds the simulations (0.3 to 2 ms each); the plan then tells its gap. ``hardware``
    names, per stage, what must be used (None: any). Raises ``Infeasible`` where nothing is feasible.
    """
    only = hardware or [None] * len(trial.graph.stages)
    trial.slack = 0.25
    found = _Search(trial, most_runs, only, with_greedy=with_greedy).run()
    left = most_runs - found.simulations
    if not found.proved or left < most_runs // 2:
        return found
    # What is left is spent on looking where the assumption of the proof may not hold.
    trial.slack = 1.0
    again = _Search(trial, left, only, with_greedy=False, upper=found.settings).run()
    simulations = found.simulations + again.simulations
    return replace(
        found if again.usd_per_hour >= found.usd_per_hour else again, proved=True, gap=0.0, simulations=simulations
    )


def quick_plan(
    trial: Trial, hardware: Sequence[str | None] | None = None, *, near: Sequence[Setting] | None = None
) -> tuple[Setting, ...]:
    """Return a feasible configuration within some tens of milliseconds, mostly the cheapest or next to it.

    ``near``: settings that are about right, on the hardware to be used: what is searched around. Raises
    ``Infeasible`` where it finds none.
    """
    found = _Search(trial, 0, hardware or [None] * len(trial.graph.stages), with_greedy=False).quick(near)
    if found is None:
        raise Infeasible("no plan was found by adding replicas → a longer objective, or faster hardware")
    return found


class _Search:
    """Best-first over (hardware, replicas), cheapest first."""

    def __init__(
        self,
        trial: Trial,
        most_runs: int,
        hardware: Sequence[str | None],
        *,
        with_greedy: bool,
        upper: tuple[Setting, ...] | None = None,
    ) -> None:
        self.trial, self.most_runs, self.only = trial, most_runs, hardware
        self.graph, self.with_greedy, self.known = trial.graph, with_greedy, upper
        self.closed: list[tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...]]] = []
        self.complete = True
        self.ends: float = trial.runs + most_runs
        self.explains = True

    def run(self) -> Plan:
        begun = self.trial.runs
        kinds = self._kinds()
        vectors = sorted(self._vectors(kinds))
        heap = [(usd, number, vector, least) for number, (usd, vector, least) in enumerate(vectors)]
        upper = self.known or self._upper(vectors)
        upper_usd = hourly_usd(self.graph, upper) if upper else float("inf")
        seen: set[tuple[tuple[str, ...], tuple[int, ...]]] = set()
        count = len(heap)
        lower = upper_usd
        while heap:
            usd, _, vector, replicas = heapq.heappop(heap)
            if usd >= upper_usd - 1e-12:
                break
            if self.trial.runs > self.ends:
                lower = usd
                break
            found, stages = self._batches(vector, replicas)
            if found is not None:
                upper, upper_usd, lower = found, usd, usd
                break
            for more in self._raised(replicas, stages):
                if (vector, more) not in seen:
                    seen.add((vector, more))
                    count += 1
                    heapq.heappush(heap, (self._usd(vector, more), count, vector, more))
        if upper is None:
            raise Infeasible(together(self.trial, kinds, self.trial.runs - begun))
        proved = self.complete and lower >= upper_usd - 1e-9
        gap = 0.0 if proved or upper_usd <= 0 else max(1 - lower / upper_usd, 0.0)
        return Plan(upper, upper_usd, proved, gap, self.trial.runs - begun)

    def _vectors(self, kinds: Sequence[Sequence[str]]) -> Iterator[tuple[float, tuple[str, ...], tuple[int, ...]]]:
        """Yield each choice of hardware with the fewest replicas that its stages need alone, and their cost."""
        for number, vector in enumerate(product(*kinds)):
            if number >= _MOST_VECTORS:
                self.complete = False
                return
            least = tuple(self.trial.least(at, name) or 0 for at, name in enumerate(vector))
            yield self._usd(vector, least), vector, least

    def _raised(self, replicas: tuple[int, ...], stages: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """Yield the replica counts with one of ``stages`` a step larger."""
        for at in stages:
            sizes = replica_counts(self.graph.stages[at])
            place = sizes.index(replicas[at])
            if place + 1 < len(sizes):
                yield (*replicas[:at], sizes[place + 1], *replicas[at + 1 :])

    def _upper(self, vectors: Sequence[tuple[float, tuple[str, ...], tuple[int, ...]]]) -> tuple[Setting, ...] | None:
        """Return the cheapest of the quick answers."""
        found = [greedy(self.trial, self.only)] if self.with_greedy else []
        best = min((hourly_usd(self.graph, each) for each in found if each), default=float("inf"))
        # Hardware that is too slow together, however many replicas, is no place to dive from.
        able = list(islice((each for each in vectors[:_LOOKED_AT] if self._able(each[1])), _DIVES))
        for usd, vector, least in able or vectors[:_DIVES]:
            if usd < best:
                dived = self._dive(vector, least, best)
                found.append(dived)
                best = min(best, hourly_usd(self.graph, dived) if dived else best)
        known = [each for each in found if each]
        return min(known, key=lambda each: hourly_usd(self.graph, each), default=None)

    def _able(self, vector: tuple[str, ...]) -> bool:
        """Tell whether the objective is kept on this hardware where hardly anybody waits."""
        ample = []
        for stage, name, visits in zip(self.graph.stages, vector, self.graph.visits, strict=True):
            busy = self.trial.rate_per_s * visits * stage.on(name).profile.mean_s(1)
            ample.append(Setting(name, stage.partitions or math.ceil(_AMPLE * (busy + 1)), 1))
        return self.trial.fits(ample)

    def _dive(self, vector: tuple[str, ...], replicas: tuple[int, ...], most_usd: float) -> tuple[Setting, ...] | None:
        """Add replicas where that saves most misses per dollar, until feasible; None where too dear, or for nothing."""
        idle = 0
        while idle <= 2 * len(replicas) and self._usd(vector, replicas) < most_usd - 1e-12:
            # Who has an answer already spends no more on a better one than was allowed.
            if self.trial.runs > self.ends and most_usd < math.inf:
                return None
            found, stages = self._batches(vector, replicas, _DIVE_RUNS)
            if found is not None:
                return found
            before = self._quick(vector, replicas)
            options = []
            for more in self._raised(replicas, stages):
                usd = self._usd(vector, more) - self._usd(vector, replicas)
                saved = before - self._quick(vector, more)
                options.append((-saved / max(usd, 1e-9), usd, more))
            if not options:
                return None
            idle = 0 if min(options)[0] < 0 else idle + 1
            # Where nothing helps by itself, what costs most is what is short.
            replicas = min(options)[2] if min(options)[0] < 0 else max(options, key=lambda each: each[1])[2]
        return None

    def _quick(self, vector: tuple[str, ...], replicas: tuple[int, ...]) -> int:
        """Return about how much is missed with replicas, at the batches that suit each stage alone."""
        first = [self.trial.batches(at, *each)[:1] for at, each in enumerate(zip(vector, replicas, strict=True))]
        whole = [each for options in first for each in options]
        return self.trial.much(whole) if all(first) else len(self.trial.arrivals[0])

    def quick(self, near: Sequence[Setting] | None = None) -> tuple[Setting, ...] | None:
        """Return a feasible configuration that no single replica less leaves feasible; not always the cheapest."""
        # Asked for each second, and by nobody who reads: what is in the way is not looked for.
        self.ends, self.explains = math.inf, False
        if near is None:
            found = self._upper(sorted(self._vectors(self._kinds())))
        else:
            kinds, replicas = tuple(each.hardware for each in near), tuple(each.replicas for each in near)
            found = self._dive(kinds, replicas, float("inf"))
        slimmer = found
        while slimmer is not None:
            found = slimmer
            vector, replicas = tuple(each.hardware for each in found), tuple(each.replicas for each in found)
            slimmer = None
            for at in sorted(
                range(len(found)), key=lambda at: -self.graph.stages[at].on(vector[at]).price_usd_per_hour
            ):
                sizes = replica_counts(self.graph.stages[at])
                place = sizes.index(replicas[at])
                if place > 0:
                    less = (*replicas[:at], sizes[place - 1], *replicas[at + 1 :])
                    slimmer, _ = self._batches(vector, less, _DIVE_RUNS)
                    if slimmer is not None:
                        break
        return found

    def _kinds(self) -> list[list[str]]:
        """Return the hardware that each stage may use; raises ``Infeasible`` where a stage has none."""
        kinds = []
        for at, (stage, only) in enumerate(zip(self.graph.stages, self.only, strict=True)):
            names = [hw.name for hw in stage.hardware if not only or hw.name == only]
            names = [name for name in names if self.trial.least(at, name) is not None]
            if not names:
                raise Infeasible(alone(self.trial, at) if self.explains else f"stage {stage.name!r} is in the way")
            kinds.append(names)
        return kinds

    def _usd(self, vector: Sequence[str], replicas: Sequence[int]) -> float:
        return sum(
            stage.on(name).price_usd_per_hour * count
            for stage, name, count in zip(self.graph.stages, vector, replicas, strict=True)
        )

    def _batches(
        self, vector: tuple[str, ...], replicas: tuple[int, ...], most_runs: int = _NODE_RUNS
    ) -> tuple[tuple[Setting, ...] | None, tuple[int, ...]]:
        """Return batches that make (hardware, replicas) feasible; else the stages of which one must have more."""
        for stages, names, counts in self.closed:
            if all(
                vector[at] == name and replicas[at] <= most
                for at, name, most in zip(stages, names, counts, strict=True)
            ):
                return None, stages
        prices = [stage.on(name).price_usd_per_hour for stage, name in zip(self.graph.stages, vector, strict=True)]
        order = tuple(sorted(range(len(vector)), key=lambda at: (-prices[at], at)))
        walk = Walk(self.trial, vector, replicas, most_runs)
        found, conflict = walk.through(order)
        if found is not None:
            return found, ()
        if conflict is None:
            self.complete &= most_runs != _NODE_RUNS
            return None, order
        stages = conflict
        # Whoever need not be looked at for this to be infeasible need not be raised.
        for at in stages[-2::-1]:
            fewer = tuple(each for each in stages if each != at)
            allowed, without = walk.through(fewer)
            if allowed is None and without is not None:
                stages = without
        self.closed.append((stages, tuple(vector[at] for at in stages), tuple(replicas[at] for at in stages)))
        return None, stages
