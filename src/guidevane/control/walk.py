"""Batch sizes for one choice of hardware and replicas: those that keep the objective, or who stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.control.trial import ideal

if TYPE_CHECKING:
    from guidevane.control.plant import Setting
    from guidevane.control.trial import Trial


class Walk:
    """Batch sizes for one choice of hardware and replicas, tried stage by stage."""

    def __init__(self, trial: Trial, vector: tuple[str, ...], replicas: tuple[int, ...], most_runs: int) -> None:
        self.trial = trial
        self.ends = trial.runs + most_runs
        self.options = [trial.batches(at, *each) for at, each in enumerate(zip(vector, replicas, strict=True))]
        self.chosen = [ideal(stage, name) for stage, name in zip(trial.graph.stages, vector, strict=True)]
        self.deepest = 0

    def through(self, order: tuple[int, ...]) -> tuple[tuple[Setting, ...] | None, tuple[int, ...] | None]:
        """Return settings that are feasible, with the stages not in ``order`` ideal; else the stages in conflict.

        Neither where ``most_runs`` did not suffice.
        """
        for at in order:
            if not self.options[at]:
                return None, (at,)
        self.deepest = 0
        before = list(self.chosen)
        if self._extend(order, 0):
            found = tuple(self.chosen)
            self.chosen = before
            return found, ()
        return None, None if self.trial.runs > self.ends else order[: self.deepest + 1]

    def _extend(self, order: tuple[int, ...], depth: int) -> bool:
        at = order[depth]
        before = self.chosen[at]
        for option in self.options[at]:
            if self.trial.runs > self.ends:
                break
            self.chosen[at] = option
            whole = depth == len(self.chosen) - 1
            if not (self.trial.fits(self.chosen) if whole else self.trial.might(self.chosen)):
                self.deepest = max(self.deepest, depth)
            elif depth == len(order) - 1 or self._extend(order, depth + 1):
                return True
        self.chosen[at] = before
        return False
