"""The planner against InferLine's greedy one: ``python -m loadtests.steering.planning``.

Forty-seven questions: four pipelines at 40, 120 and 300 events/s, SCV 1 and 4, at their objective and at 1.5 times it
(``social`` at a third of the rates), less the last. Both are judged on the same traces, and both are given the same
simulation; seconds are CPU of one core. Written to results/steering/planning.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from guidevane.control.greedy import greedy
from guidevane.control.planner import plan
from guidevane.control.space import Infeasible
from guidevane.control.trial import Demand, Trial, hourly_usd
from loadtests.steering.pipelines import PIPELINES
from loadtests.stream.report import commit, machine

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parents[1] / "results" / "steering" / "planning.json"
EPSILON = 0.01


@dataclass(frozen=True, slots=True)
class Question:
    """A pipeline, a rate, how bursty, an objective."""

    pipeline: str
    rate_per_s: float
    scv: float
    slo_s: float

    def trial(self) -> Trial:
        """Return what both planners are tried on, with nothing simulated yet."""
        graph = PIPELINES[self.pipeline].graph()
        traces = Demand(self.rate_per_s, self.scv).traces()
        return Trial(graph, self.slo_s, EPSILON, traces, rate_per_s=self.rate_per_s)


QUESTIONS = tuple(
    Question(name, rate * PIPELINES[name].rate, scv, PIPELINES[name].slo_ms / 1e3 * longer)
    for name, rate, scv, longer in product(
        ("image", "cascade", "video", "social"), (40.0, 120.0, 300.0), (1.0, 4.0), (1.0, 1.5)
    )
)[:47]


def answered(question: Question) -> dict[str, object]:
    """Return what both planners say to one question."""
    bound = greedy(question.trial())
    trial = question.trial()
    begun = time.process_time()
    try:
        found = plan(trial)
    except Infeasible as wrong:
        return {"infeasible": str(wrong), "greedy": None if bound is None else "found one"}
    took_s = time.process_time() - begun
    return {
        "greedy_usd": None if bound is None else round(hourly_usd(trial.graph, bound), 6),
        "usd": round(found.usd_per_hour, 6),
        "proved": found.proved,
        "gap": round(found.gap, 4),
        "simulations": found.simulations,
        "cpu_s": round(took_s, 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, write, show; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.steering.planning", description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    # What is compiled when it is first called is no part of a plan.
    plan(Question("image", 40.0, 1.0, 0.3).trial(), most_runs=10)
    rows = [
        {
            "pipeline": each.pipeline, "rate_per_s": each.rate_per_s, "scv": each.scv, "slo_ms": 1e3 * each.slo_s,
            **answered(each),
        }
        for each in track(QUESTIONS, "plans", console=console)
    ]  # fmt: skip
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({**told, "epsilon": EPSILON, "questions": rows}, indent=1) + "\n")
    both = [row for row in rows if row.get("greedy_usd") and row.get("usd")]
    savings = [1 - row["usd"] / row["greedy_usd"] for row in both]  # type: ignore[operator]
    dearer = sum(each < 0 for each in savings)
    console.print(
        f"{len(rows)} questions, both answer {len(both)}; {sum(savings) / len(savings):.1%} cheaper on average, "
        f"dearer in {dearer}; proved {sum(bool(row.get('proved')) for row in rows)}, "
        f"largest gap {max(float(str(row.get('gap', 0))) for row in rows):.1%}, "
        f"longest {max(float(str(row.get('cpu_s', 0))) for row in rows):.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
