"""Several policies on one case, and the oracle that all are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.steering import scores
from loadtests.steering.playing import Run, play
from loadtests.steering.policies import POLICIES, Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress, TaskID

    from loadtests.steering.case import Case
    from loadtests.steering.keeping import Kept

ORACLE, OURS = "oracle", "guidevane"


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
    prepared = Prepared(case)
    runs: dict[str, Run] = {}
    for name in dict.fromkeys((*names, ORACLE)):
        task = None if progress is None else progress.add_task(name, total=1.0)
        if kept is not None and name != OURS and (known := kept.recall(case, name)) is not None:
            runs[name] = known
            if progress is not None and task is not None:
                progress.update(task, completed=1.0)
            continue
        candidates = POLICIES[name](prepared)
        played = []
        for at, each in enumerate(candidates):

            def told(share: float, task: TaskID | None = task, at: int = at, of: int = len(candidates)) -> None:
                if progress is not None and task is not None:
                    progress.update(task, completed=(at + share) / of)

            played.append(play(each, case, progress=told))
            told(1.0)
        runs[name] = scores.best(played, case)
        if kept is not None and name != OURS:
            kept.remember(case, name, runs[name])
    keeping = [run for run in runs.values() if run.misses(case.slo_s) <= case.allowed]
    oracle_usd = min((run.cost_usd for run in keeping), default=None)
    if ORACLE in runs and keeping and runs[ORACLE].misses(case.slo_s) <= case.allowed:
        runs[ORACLE] = min(keeping, key=lambda run: run.cost_usd)
    return {name: Played(runs[name], scores.score(runs[name], case, oracle_usd)) for name in dict.fromkeys(names)}
