"""Plans that need not be the cheapest of all: feasible, and the cheapest around where they were found.

By latency budgets (``sharing``), and by dives: from the fewest replicas that each stage needs alone, those are added
that save most misses per dollar. What was found is slimmed, and searched around.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

from guidevane.control.plant import Setting
from guidevane.control.sharing import descended, shared
from guidevane.control.space import Infeasible, Space, apart
from guidevane.control.trial import replica_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.budgets import Option
    from guidevane.control.space import Node
    from guidevane.control.trial import Trial

_DIVES, _DIVE_RUNS = 3, 60
LOOKED_AT = 100
"""Choices of hardware among which places to dive from are sought, the cheapest first."""
MORE_RUNS = 800
"""Simulations to find a plan by budgets, and to search around one, at most."""
_AMPLE = 6
"""Replicas for each that is busy on average, of whom one is nearly always free."""


def quick_plan(
    trial: Trial, hardware: Sequence[str | None] | None = None, *, near: Sequence[Setting] | None = None
) -> tuple[Setting, ...]:
    """Return a feasible configuration, mostly the cheapest or next to it.

    Within some tens of milliseconds; within seconds where many stages, or a quorum's members in bursts, have a choice.

    ``hardware`` names, per stage, what must be used (None: any). ``near``: settings that are about right, on the
    hardware to be used: what is searched around. Raises ``Infeasible`` where it finds none.
    """
    # Asked for each second, and by nobody who reads: what is in the way is not looked for.
    space = Space(trial, hardware, explains=False)
    quick = Quick(space)
    if near is not None:
        found = quick.dive(apart(near))
    else:
        kinds = space.kinds()
        answers = quick.answers(list(islice(space.choices(kinds), LOOKED_AT)), kinds)
        if answers and any(len(names) > 1 for names in kinds):
            return quick.around(answers, kinds, MORE_RUNS)
        found = answers[0] if answers else None
    if found is None:
        raise Infeasible("no plan was found by adding replicas → a longer objective, or faster hardware")
    return quick.slimmed(found)


class Quick:
    """Finds feasible configurations in a space, and better ones around them."""

    def __init__(self, space: Space, ends: float = math.inf) -> None:
        """``ends``: the trial's runs beyond which a dive gives up where there is an answer already."""
        self.space, self.trial, self.graph, self.ends = space, space.trial, space.graph, ends

    def answers(
        self, looked_at: Sequence[tuple[float, tuple[Option, ...]]], kinds: Sequence[Sequence[str]]
    ) -> list[tuple[Setting, ...]]:
        """Return what is found quickly, the cheapest first."""
        found: list[tuple[Setting, ...] | None] = []
        if len(looked_at) > _DIVES:
            found += shared(self.trial, kinds, MORE_RUNS)
        best = min((self.space.cost(each) for each in found if each), default=math.inf)
        nodes = [(usd, apart(each.setting for each in chosen)) for usd, chosen in looked_at]
        # Hardware that is too slow together, however many replicas, is no place to dive from.
        able = list(islice(((usd, node) for usd, node in nodes if self._able(node[0])), _DIVES))
        for usd, node in able or nodes[:_DIVES]:
            if usd < best:
                dived = self.dive(node, best)
                found.append(dived)
                best = min(best, self.space.cost(dived) if dived else best)
        return sorted((each for each in found if each), key=self.space.cost)

    def around(
        self, answers: Sequence[tuple[Setting, ...]], kinds: Sequence[Sequence[str]], most_runs: int
    ) -> tuple[Setting, ...]:
        """Return the cheapest of what is found around the cheapest answer and the dearest: they end in other places."""
        best, ends = answers[0], self.trial.runs + most_runs
        for each in dict.fromkeys((answers[0], answers[-1])):
            if self.trial.runs < ends:
                found = descended(self.trial, self.slimmed(each, ends), kinds, ends)
                best = min(best, found, key=self.space.cost)
        # Batches that suit each stage alone, as in every plan: larger ones are too slow once more comes than planned.
        return self.space.batches(*apart(best))[0] or best

    def dive(self, start: Node, most_usd: float = math.inf) -> tuple[Setting, ...] | None:
        """Add replicas where that saves most misses per dollar, until feasible; None where too dear, or for nothing."""
        vector, replicas = start
        idle = 0
        while idle <= 2 * len(replicas) and self.space.usd(vector, replicas) < most_usd - 1e-12:
            # Who has an answer already spends no more on a better one than was allowed.
            if self.trial.runs > self.ends and most_usd < math.inf:
                return None
            found, stages = self.space.batches(vector, replicas, _DIVE_RUNS)
            if found is not None:
                return found
            before = self._quick(vector, replicas)
            options = []
            for more in self.space.raised(replicas, stages):
                usd = self.space.usd(vector, more) - self.space.usd(vector, replicas)
                saved = before - self._quick(vector, more)
                options.append((-saved / max(usd, 1e-9), usd, more))
            if not options:
                return None
            idle = 0 if min(options)[0] < 0 else idle + 1
            # Where nothing helps by itself, what costs most is what is short.
            replicas = min(options)[2] if min(options)[0] < 0 else max(options, key=lambda each: each[1])[2]
        return None

    def slimmed(self, found: tuple[Setting, ...], ends: float = math.inf) -> tuple[Setting, ...]:
        """Return a feasible configuration that no single replica less leaves feasible, whatever the batches.

        ``ends``: the trial's runs beyond which nothing more is tried.
        """
        slimmer: tuple[Setting, ...] | None = found
        while slimmer is not None and self.trial.runs < ends:
            found = slimmer
            vector, replicas = apart(found)
            slimmer = None
            for at in sorted(
                range(len(found)), key=lambda at: -self.graph.stages[at].on(vector[at]).price_usd_per_hour
            ):
                sizes = replica_counts(self.graph.stages[at])
                place = sizes.index(replicas[at])
                if place > 0:
                    less = (*replicas[:at], sizes[place - 1], *replicas[at + 1 :])
                    slimmer, _ = self.space.batches(vector, less, _DIVE_RUNS)
                    if slimmer is not None:
                        break
        return found

    def _able(self, vector: tuple[str, ...]) -> bool:
        """Tell whether the objective is kept on this hardware where hardly anybody waits."""
        ample = []
        for stage, name, visits in zip(self.graph.stages, vector, self.graph.visits, strict=True):
            busy = self.trial.rate_per_s * visits * stage.on(name).profile.mean_s(1)
            ample.append(Setting(name, stage.partitions or math.ceil(_AMPLE * (busy + 1)), 1))
        return self.trial.fits(ample)

    def _quick(self, vector: tuple[str, ...], replicas: tuple[int, ...]) -> int:
        """Return about how much is missed with replicas, at the batches that suit each stage alone."""
        first = [self.trial.batches(at, *each)[:1] for at, each in enumerate(zip(vector, replicas, strict=True))]
        whole = [each for options in first for each in options]
        return self.trial.much(whole) if all(first) else len(self.trial.arrivals[0])
