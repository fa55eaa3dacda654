"""Play Faro's ten jobs on fixed capacities: ``python -m loadtests.steering.faro --capacity 36 --capacity 32``."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from loadtests.steering.faro import faro_fairsum, faro_sum
from loadtests.steering.faro.guidevane import EVERY_S, Knapsack, Misses
from loadtests.steering.faro.jobs import JOBS, MINUTE_S, MINUTES, Jobs
from loadtests.steering.faro.utility import EVERY_S as FAROS_S
from loadtests.stream.report import commit, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests.steering.faro.jobs import Outcome

    Decide = Callable[[float, tuple[int, ...], int], tuple[int, ...]]

RESULTS = Path(__file__).parents[2] / "results" / "steering" / "faro.json"


def played(jobs: Jobs, capacity: int, decide: Decide, every_s: float, *, shed: bool) -> Outcome:
    """Let a policy share a capacity among the jobs, from equal shares on."""
    now = tuple(capacity // JOBS + (job < capacity % JOBS) for job in range(JOBS))
    rows = [now]
    for decision in range(1, int(jobs.minutes * MINUTE_S / every_s)):
        now = decide(decision * every_s, now, capacity)
        rows.append(now)
    return jobs.played(np.array(rows), every_s, shed=shed)


def compared(jobs: Jobs, capacity: int) -> dict[str, Outcome]:
    """Play everybody on one capacity."""
    return {
        "equal": played(jobs, capacity, lambda _, now, __: now, FAROS_S, shed=False),
        "faro_sum": played(jobs, capacity, lambda at, now, of: faro_sum.decide(jobs, at, now, of), FAROS_S, shed=False),
        "faro_fairsum": played(
            jobs, capacity, lambda at, now, of: faro_fairsum.decide(jobs, at, now, of), FAROS_S, shed=False
        ),
        "guidevane_no_shedding": played(jobs, capacity, Knapsack(jobs, Misses(shed=False)).decide, EVERY_S, shed=False),
        "guidevane": played(jobs, capacity, Knapsack(jobs, Misses(shed=True)).decide, EVERY_S, shed=True),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, write, show; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.steering.faro", description=__doc__)
    parser.add_argument("--capacity", type=int, action="append", help="replicas for all jobs together (36 and 32)")
    parser.add_argument("--minutes", type=int, default=MINUTES, help=f"how much of the six hours is played ({MINUTES})")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds of arrivals and services (3)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    if options.seeds < 1 or not 1 <= options.minutes <= MINUTES or min(options.capacity or [JOBS]) < JOBS:
        console.print(f"wrong: a seed at least, 1 to {MINUTES} minutes, {JOBS} replicas at least", style="red")
        return 2
    told: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine(),
        "minutes": options.minutes, "seeds": options.seeds, "capacities": {},
    }  # fmt: skip
    capacities: dict[str, object] = {}
    for capacity in options.capacity or [36, 32]:
        runs: dict[str, list[Outcome]] = {}
        for seed in track(range(1, options.seeds + 1), f"{capacity} replicas", console=console):
            for name, outcome in compared(Jobs(seed, options.minutes), capacity).items():
                runs.setdefault(name, []).append(outcome)
        capacities[str(capacity)] = {
            name: {
                "miss": [round(each.share, 6) for each in outcomes],
                "miss_by_job_and_minute": [round(each.faros, 6) for each in outcomes],
            }
            for name, outcomes in runs.items()
        }
        for name, outcomes in runs.items():
            share, faros = (float(np.mean([f(each) for each in outcomes])) for f in (_share, _faros))
            console.print(f"{capacity} replicas  {name:22} {share:7.2%} of events, {faros:7.2%} as Faro counts")
    told["capacities"] = capacities
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


def _share(outcome: Outcome) -> float:
    return outcome.share


def _faros(outcome: Outcome) -> float:
    return outcome.faros


if __name__ == "__main__":
    sys.exit(main())
