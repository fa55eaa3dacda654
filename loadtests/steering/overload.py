"""Half as much again on fixed capacity: what is served in time, by who drops when.

``python -m loadtests.steering.overload`` writes results/steering/overload.json. A plan for 120 events/s (``social``:
40) stays as it is while for five minutes 1.5 times what its narrowest stage bears comes in. Goodput is what ends in
time, over that stage's capacity. ``none``: first come, first served. ``reactive``: a stage drops what it would itself
bring out behind the deadline. ``proactive`` (ours): also what could not get through the stages behind it
(``control.shedding``). A quorum can do without members, so that more than the narrowest of the others may be served.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from guidevane.control.quick import quick_plan
from guidevane.control.shedding import ahead_s
from guidevane.control.trial import Demand, Trial
from loadtests.steering import workloads
from loadtests.steering.pipelines import PIPELINES
from loadtests.steering.plant import trial
from loadtests.steering.plant.cluster import Scene
from loadtests.stream.report import commit, machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from loadtests.steering.plant.columns import Floats

RESULTS = Path(__file__).parents[1] / "results" / "steering" / "overload.json"
SECONDS, TIMES, RATE = 300, 1.5, 120.0


def capacity_per_s(graph: Graph, settings: Sequence[Setting]) -> float:
    """Return the events per second that the narrowest stage bears in full batches.

    A member that a quorum can do without is no bound.
    """
    return min(
        stage.on(each.hardware).profile.throughput(each.batch) * each.replicas / visits
        for stage, each, visits in zip(graph.stages, settings, graph.visits, strict=True)
        if visits > 0 and stage.name not in graph.members
    )


def goodput(name: str, seed: int) -> dict[str, float]:
    """Return what each way to drop serves in time, as a share (0-1) of the capacity."""
    pipeline = PIPELINES[name]
    graph, slo_s, rate = pipeline.graph(), pipeline.slo_ms / 1e3, RATE * pipeline.rate
    asked = Trial(graph, slo_s, 0.01, Demand(rate).traces(), rate_per_s=rate, drop=True)
    settings = quick_plan(asked)
    borne = capacity_per_s(graph, settings)
    at = workloads.renewal(np.full(SECONDS, TIMES * borne), scv=1.0, rng=np.random.default_rng([seed, 8]))
    scene = Scene.of(graph, at, deadline_s=slo_s, seed=seed)
    plan = trial.constant(scene, dict(zip(graph.names, settings, strict=True)))
    ways: dict[str, Floats | None] = {
        "none": None,
        "reactive": np.zeros(len(settings)),
        "proactive": np.asarray(ahead_s(graph, settings, TIMES * borne, slo_s)),
    }
    served = {way: at.size - trial.misses(scene, *plan, most=at.size, shed=shed)[0] for way, shed in ways.items()}
    return {way: round(count / SECONDS / borne, 4) for way, count in served.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, write, show; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.steering.overload", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    found = {name: [goodput(name, seed) for seed in range(1, options.seeds + 1)] for name in PIPELINES}
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({**told, "times": TIMES, "goodput": found}, indent=1) + "\n")
    for name, seeds in found.items():
        means = {way: float(np.mean([each[way] for each in seeds])) for way in seeds[0]}
        console.print(f"{name:10}" + "".join(f"  {way} {100 * mean:5.1f} %" for way, mean in means.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
