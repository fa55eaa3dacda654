"""The cheapest configuration that keeps an objective: exact where the search ends, with its gap where it does not.

Best-first by cost over hardware and replicas; for each of those, batch sizes stage by stage, the
dearest stages first, the others taken as if nobody ever waited there. Stages that are infeasible
even so must have more replicas, whatever the others have: that closes all configurations with no
more of them. ``proved`` rests on one assumption: a stage that makes events wait never saves, by
handing them on in better batches, more than a quarter of the allowed misses behind it. Without
batches it saves none; with them it sometimes does, so that a second pass looks there with a
looser bound. The tests hold the planner to brute force.

Choices of hardware are told cheapest first by what their stages may take of the objective (``budgets``), so that none
need be listed: what has not been looked at costs no less. Upper bounds, and answers at any time: what ``quick``
finds, and InferLine's greedy planner (Crankshaw et al., SoCC 2020, algorithm 1). What is not proved is searched around.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from guidevane.control.greedy import greedy
from guidevane.control.quick import LOOKED_AT, Quick
from guidevane.control.reasons import together
from guidevane.control.space import Infeasible, Space, apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.budgets import Option
    from guidevane.control.plant import Setting
    from guidevane.control.space import Node
    from guidevane.control.trial import Trial


_AROUND = 250
"""Simulations to search around what is not proved, at least: with fewer, a poor answer stays one."""


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


def plan(
    trial: Trial, *, most_runs: int = 3000, hardware: Sequence[str | None] | None = None, with_greedy: bool = True
) -> Plan:
    """Return the cheapest feasible configuration of a trial.

    ``most_runs`` bounds the simulations (0.3 to 2 ms each); the plan then tells its gap. ``hardware``
    names, per stage, what must be used (None: any). Raises ``Infeasible`` where nothing is feasible.
    """
    trial.slack = 0.25
    found = _Search(trial, most_runs, hardware, with_greedy=with_greedy).run()
    left = most_runs - found.simulations
    if not found.proved or left < most_runs // 2:
        return found
    # What is left is spent on looking where the assumption of the proof may not hold.
    trial.slack = 1.0
    again = _Search(trial, left, hardware, with_greedy=False, known=found.settings).run()
    simulations = found.simulations + again.simulations
    return replace(
        found if again.usd_per_hour >= found.usd_per_hour else again, proved=True, gap=0.0, simulations=simulations
    )


class _Search:
    """Best-first over (hardware, replicas), cheapest first."""

    def __init__(
        self,
        trial: Trial,
        most_runs: int,
        hardware: Sequence[str | None] | None,
        *,
        with_greedy: bool,
        known: tuple[Setting, ...] | None = None,
    ) -> None:
        self.trial, self.most_runs, self.with_greedy, self.known = trial, most_runs, with_greedy, known
        self.ends = trial.runs + most_runs
        self.space = Space(trial, hardware, explains=True)
        self.quick = Quick(self.space, self.ends)

    def run(self) -> Plan:
        begun, space = self.trial.runs, self.space
        kinds = space.kinds()
        choices = space.choices(kinds)
        vectors = iter(choices)
        looked_at = list(islice(vectors, LOOKED_AT))
        answers = self._answers(looked_at, kinds)
        upper = answers[0] if answers else None
        upper_usd = space.cost(upper) if upper else math.inf
        fresh = chain(looked_at, vectors)
        following = next(fresh, None)
        heap: list[tuple[float, int, Node]] = []
        seen: set[Node] = set()
        numbers, lower = count(), upper_usd
        while heap or following:
            new = following is not None and (not heap or following[0] <= heap[0][0])
            if following and new:
                (usd, chosen), following = following, next(fresh, None)
                node = apart(each.setting for each in chosen)
            else:
                usd, _, node = heapq.heappop(heap)
            if usd >= upper_usd - 1e-12:
                break
            if self.trial.runs > self.ends:
                lower = usd
                break
            vector, replicas = node
            # No replica makes hardware quicker.
            if new and not space.possible(vector):
                continue
            found, stages = space.batches(vector, replicas)
            if found is not None:
                upper, upper_usd, lower = found, usd, usd
                break
            for more in space.raised(replicas, stages):
                if (vector, more) not in seen:
                    seen.add((vector, more))
                    heapq.heappush(heap, (space.usd(vector, more), next(numbers), (vector, more)))
        if upper is None:
            raise Infeasible(together(self.trial, kinds, self.trial.runs - begun))
        lower = min(lower, choices.bound_usd, space.undecided_usd)
        if lower < upper_usd - 1e-9:
            upper = self.quick.around([upper, *answers], kinds, max(self.most_runs // 2, _AROUND))
            upper_usd = space.cost(upper)
        proved = lower >= upper_usd - 1e-9
        gap = 0.0 if proved else 1 - lower / upper_usd
        return Plan(upper, upper_usd, proved, gap, self.trial.runs - begun)

    def _answers(
        self, looked_at: Sequence[tuple[float, tuple[Option, ...]]], kinds: Sequence[Sequence[str]]
    ) -> list[tuple[Setting, ...]]:
        """Return configurations that are feasible, the cheapest first."""
        if self.known:
            return [self.known]
        found = self.quick.answers(looked_at, kinds)
        bound = greedy(self.trial, self.space.only) if self.with_greedy else None
        return sorted([*found, *([bound] if bound else [])], key=self.space.cost)
