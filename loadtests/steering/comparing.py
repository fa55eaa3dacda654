"""Several policies on one case, and the oracle that all are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from loadtests.steering import scores
from loadtests.steering.playing import Run, play
from loadtests.steering.policies import POLICIES, Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress, TaskID

    from loadtests.steering.case import Case
    from loadtests.steering.keeping import Kept

ORACLE, OURS = "oracle", "guidevane"


class _Bar:
    """How far the policy is that is played now: first its plans, then its run."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.task = progress, cast("TaskID", 0)

    def begins(self, name: str) -> None:
        """Begin a line of its own."""
        if self.progress is not None:
            self.task = self.progress.add_task(name, total=1.0)

    def names(self, what: str) -> None:
        """Say what is done now, and begin at 0 with it."""
        if self.progress is not None:
            self.progress.update(self.task, description=what, completed=0.0)

    def told(self, share: float) -> None:
        """Show a share (0-1)."""
        if self.progress is not None:
            self.progress.update(self.task, completed=share)


@dataclass(frozen=True, slots=True)
class Played:
    """A policy's best run on a case, and its score."""

    run: Run
    score: scores.Score


def compare(
    case: Case, names: Sequence[str], *, progress: Progress | None = None, kept: Kept | None = None
) -> dict[str, Played]:
    """Play each policy, and the oracle, which is scored only where it is named.

    Where ``kept`` is given, runs of other policies than ours are taken from there, and put there.

    The oracle's cost is the least of what its own search found and of all runs here that keep the objective: who knows
    the future could have done what they did.

    Raises:
        Misconfigured: a policy cannot be made for this case.
    """
    runs: dict[str, Run] = {}
    bar = _Bar(progress)
    prepared = Prepared(case, bar.told)
    for name in dict.fromkeys((*names, ORACLE)):
        bar.begins(name)
        if kept is not None and name != OURS and (known := kept.recall(case, name)) is not None:
            runs[name] = known
            bar.told(1.0)
            continue
        bar.names(f"{name} plans")
        candidates = POLICIES[name](prepared)
        bar.names(name)
        played = []
        for at, each in enumerate(candidates):

            def told(share: float, at: int = at, of: int = len(candidates)) -> None:
                bar.told((at + share) / of)

            played.append(play(each, case, progress=told))
            told(1.0)
        runs[name] = scores.best(played, case)
        if kept is not None and name != OURS:
            kept.remember(case, name, runs[name])
    keeping = [run for run in runs.values() if run.misses(case.slo_s) <= case.allowed]
    oracle_usd = min((run.cost_usd for run in keeping), default=None)
    if keeping:
        runs[ORACLE] = min(keeping, key=lambda run: run.cost_usd)
    else:
        # Where nobody keeps it, who knows the future could at least have missed as few as the best here.
        runs[ORACLE] = min(runs.values(), key=lambda run: (run.misses(case.slo_s), run.cost_usd))
    return {name: Played(runs[name], scores.score(runs[name], case, oracle_usd)) for name in dict.fromkeys(names)}
