"""What a search for a plan goes through: hardware and replicas for all stages, and what was learned of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from guidevane.control.budgets import Choices, Option, bounding
from guidevane.control.plant import Setting
from guidevane.control.reasons import alone
from guidevane.control.trial import hourly_usd, ideal, replica_counts
from guidevane.control.walk import Walk
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guidevane.control.trial import Trial

NODE_RUNS = 400
"""Simulations after which the batches of one node are left undecided."""

Node = tuple[tuple[str, ...], tuple[int, ...]]
"""Hardware and replicas, one each per stage in the graph's order."""


class Infeasible(Misconfigured):
    """No configuration keeps the objective; the message says which stage is in the way, and by how much."""


class Space:
    """Nodes are hardware and replicas for each stage; what one of them lacks closes others.

    ``undecided_usd``: the cost of the cheapest node that too few simulations were allowed for.
    """

    def __init__(self, trial: Trial, hardware: Sequence[str | None] | None, *, explains: bool) -> None:
        """Start with nothing known. ``hardware``: per stage what must be used (None: any).

        ``explains``: whether ``Infeasible`` says what is in the way, which takes simulations.
        """
        self.trial, self.graph, self.only = trial, trial.graph, hardware or [None] * len(trial.graph.stages)
        self.explains, self.undecided_usd = explains, math.inf
        self._closed: list[tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...]]] = []

    def kinds(self) -> list[list[str]]:
        """Return the hardware that each stage may use; raises ``Infeasible`` where a stage has none."""
        kinds = []
        for at, (stage, only) in enumerate(zip(self.graph.stages, self.only, strict=True)):
            names = [hw.name for hw in stage.hardware if not only or hw.name == only]
            names = [name for name in names if self.trial.least(at, name) is not None]
            if not names:
                raise Infeasible(alone(self.trial, at) if self.explains else f"stage {stage.name!r} is in the way")
            kinds.append(names)
        return kinds

    def choices(self, kinds: Sequence[Sequence[str]]) -> Choices:
        """Return hardware for all stages with the fewest replicas that each needs alone, cheapest first."""
        options = [
            [
                Option(Setting(name, least, 1), hw.price_usd_per_hour * least, hw.profile.fastest_s)
                for name, hw in ((name, stage.on(name)) for name in names)
                if (least := self.trial.least(at, name))
            ]
            for at, (stage, names) in enumerate(zip(self.graph.stages, kinds, strict=True))
        ]
        # On a trace, more events than their share may go a way; not twice as many.
        return Choices(options, bounding(self.graph, self.trial.slo_s, 2 * self.trial.epsilon))

    def possible(self, vector: tuple[str, ...]) -> bool:
        """Tell whether hardware leaves the objective possible where nobody ever waits."""
        return self.trial.might([ideal(stage, name) for stage, name in zip(self.graph.stages, vector, strict=True)])

    def raised(self, replicas: tuple[int, ...], stages: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """Yield the replica counts with one of ``stages`` a step larger."""
        for at in stages:
            sizes = replica_counts(self.graph.stages[at])
            place = sizes.index(replicas[at])
            if place + 1 < len(sizes):
                yield (*replicas[:at], sizes[place + 1], *replicas[at + 1 :])

    def batches(
        self, vector: tuple[str, ...], replicas: tuple[int, ...], most_runs: int = NODE_RUNS
    ) -> tuple[tuple[Setting, ...] | None, tuple[int, ...]]:
        """Return batches that make (hardware, replicas) feasible; else the stages of which one must have more."""
        for stages, names, counts in self._closed:
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
            if most_runs == NODE_RUNS:
                self.undecided_usd = min(self.undecided_usd, self.usd(vector, replicas))
            return None, order
        stages = conflict
        # Whoever need not be looked at for this to be infeasible need not be raised.
        for at in stages[-2::-1]:
            fewer = tuple(each for each in stages if each != at)
            allowed, without = walk.through(fewer)
            if allowed is None and without is not None:
                stages = without
        self._closed.append((stages, tuple(vector[at] for at in stages), tuple(replicas[at] for at in stages)))
        return None, stages

    def cost(self, settings: Sequence[Setting]) -> float:
        """Return what settings cost, in $ an hour."""
        return hourly_usd(self.graph, settings)

    def usd(self, vector: Sequence[str], replicas: Sequence[int]) -> float:
        """Return what a node costs, in $ an hour."""
        return sum(
            stage.on(name).price_usd_per_hour * count
            for stage, name, count in zip(self.graph.stages, vector, replicas, strict=True)
        )


def apart(settings: Iterable[Setting]) -> Node:
    """Return the node that settings are of."""
    chosen = list(settings)
    return tuple(each.hardware for each in chosen), tuple(each.replicas for each in chosen)
