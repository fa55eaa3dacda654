"""Runs that need not be played again: all policies but ours depend on the case and on the code of the benchmark alone.

A run is kept under the digest of everything it follows from: the graph, the arrivals, the objective, the seed, and the
source of the plant, of the baselines and of what they take from ``guidevane.control``. Whoever changes a line of those
plays again; only the oracle follows from its own search, which takes longest and which nobody else looks at.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import guidevane.control
from loadtests.steering.playing import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.steering.case import Case

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".bench" / "steering"
_ORACLE = "oracle"
_IMPORTS = re.compile(r"^from guidevane\.control\.(\w+) import", re.MULTILINE)
_ARRAYS = ("latency_s", "shed_s", "replicas", "pending", "batch", "queue")
_FIGURES = ("shed", "unfinished", "cost_usd", "replica_seconds", "actions", "left_out")


@cache
def sources(*, oracle: bool) -> bytes:
    """Return the digest of the code that a run follows from, besides the policy's own choice of settings."""
    files = sorted((*HERE.glob("plant/*.py"), *HERE.glob("baselines/*.py")))
    files = [each for each in files if oracle or each.stem != _ORACLE]
    files += [HERE / f"{name}.py" for name in ("case", "playing", "policies", "scores")]
    return hashlib.sha256(b"".join(each.read_bytes() for each in (*files, *_control(files)))).digest()


def _control(files: Sequence[Path]) -> list[Path]:
    """Return what files take from ``guidevane.control``, and what that takes from there itself."""
    folder = Path(guidevane.control.__file__).parent
    found: set[Path] = set()
    unread = list(files)
    while unread:
        taken = {folder / f"{name}.py" for name in _IMPORTS.findall(unread.pop().read_text())} - found
        found |= taken
        unread += taken
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of runs."""

    folder: Path = FOLDER

    def _path(self, case: Case, policy: str) -> Path:
        facts = repr((case.graph, case.slo_s, case.epsilon, case.seed, policy)).encode()
        digest = hashlib.sha256(sources(oracle=policy == _ORACLE) + facts + case.arrivals_s.tobytes()).hexdigest()
        return self.folder / f"{policy}-{digest[:24]}.npz"

    def recall(self, case: Case, policy: str) -> Run | None:
        """Return the run of a policy on a case, without what it said; None where it was not played yet."""
        path = self._path(case, policy)
        if not path.exists():
            return None
        with np.load(path) as kept:
            arrays = {name: kept[name] for name in _ARRAYS}
            figures = {name: kept[name].item() for name in _FIGURES}
        return Run(**arrays, **figures, actions_taken=[])

    def remember(self, case: Case, policy: str, run: Run) -> None:
        """Keep a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(case, policy)
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, **{name: getattr(run, name) for name in (*_ARRAYS, *_FIGURES)})
        partial.rename(path)
