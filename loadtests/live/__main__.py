"""``python -m loadtests.live``: the controller, Ray Serve's autoscaler and a static peak, on real Kafka and Ray Serve.

Members are emulated (``emulated.py``). All begin with a plan for the first rate (``static_peak``: for the busiest ten
seconds, which it knows beforehand). The simulator plays the same arrivals beside each run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.control.question import Question, answer
from guidevane.control.reading import read_graph
from guidevane.local.platform import Platform
from loadtests.live.emulated import LATENCY_S, SLO_MS, graph
from loadtests.live.plots import plot
from loadtests.live.running import Bench, bench
from loadtests.live.workloads import arrivals
from loadtests.stream.report import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CONTENDERS = ("static_peak", "guidevane", "ray")
_OUT = Path("loadtests/results/live/latest.json")
_EPSILON = 0.01
_PEAK_S = 10.0


async def main() -> None:
    """Play, print, write after each run."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.live", description=__doc__)
    asked.add_argument("--workloads", default="step,spike,azure_code")
    asked.add_argument("--contenders", default=",".join(CONTENDERS))
    asked.add_argument("--seconds", type=float, default=600.0)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    made: dict[str, Any] = {"about": about(), "seconds": told.seconds, "slo_ms": SLO_MS, "runs": {}}
    with tempfile.TemporaryDirectory(prefix="guidevane-live-") as folder:
        async with Platform(
            "loadtests.live.emulated:pipeline", state_dir=Path(folder), without=["controller", "monitors"]
        ) as platform:
            keeping = asyncio.create_task(platform.watch())
            async with bench(platform) as standing:
                # Serve's own autoscaler comes last: it needs another deployment of the same members.
                for name in sorted(told.contenders.split(","), key=CONTENDERS.index):
                    for workload in told.workloads.split(","):
                        times = arrivals(workload, told.seconds, told.seed)
                        found = await _run(standing, name, times)
                        made["runs"].setdefault(workload, {})[name] = found
                        _write(told.out, made)
                        shown = {key: found[key] for key in ("events", "miss", "latency_ms", "replica_seconds")}
                        print(workload, name, shown, file=sys.stderr)
            keeping.cancel()
    for workload in told.workloads.split(","):
        forecast = await asyncio.to_thread(_forecast, arrivals(workload, told.seconds, told.seed), told.seed)
        for name, found in made["runs"][workload].items():
            found["forecast"] = forecast.get(name)
        times, picture = arrivals(workload, told.seconds, told.seed), told.out.with_name(f"{workload}.png")
        plot(workload, times, made["runs"][workload], SLO_MS, picture)
    _write(told.out, made)


async def _run(standing: Bench, name: str, times: NDArray[np.float64]) -> dict[str, Any]:
    await standing.deploy("ray" if name == "ray" else "external")
    if name == "ray":
        return await standing.play(times)
    await standing.stand(*_plan(_peak(times) if name == "static_peak" else _rate(times, 0.0)))
    if name == "static_peak":
        return await standing.play(times)
    async with standing.steered():
        return await standing.play(times)


def _plan(rate_per_s: float) -> tuple[dict[str, int], int]:
    """Return the cheapest replicas for a rate, and the batch of the slowest member."""
    plan = answer(Question(graph=read_graph(graph()), slo_s=SLO_MS / 1e3, rate_per_s=rate_per_s, epsilon=_EPSILON)).plan
    settings = dict(zip(read_graph(graph()).names, plan.settings, strict=True))
    slowest = max(LATENCY_S, key=lambda member: LATENCY_S[member][1])
    return {name: settings[name].replicas for name in LATENCY_S}, settings[slowest].batch


def _rate(times: NDArray[np.float64], since_s: float) -> float:
    return max(float(((times >= since_s) & (times < since_s + _PEAK_S)).sum()) / _PEAK_S, 1.0)


def _peak(times: NDArray[np.float64]) -> float:
    return max(_rate(times, float(since)) for since in np.arange(0.0, max(float(times[-1]) - _PEAK_S, 1.0), 1.0))


def _forecast(times: Sequence[float] | NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Return what the simulator makes of the same arrivals: ``python -m loadtests.steering``."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        (where / "graph.json").write_text(json.dumps(graph()))
        (where / "arrivals.csv").write_text("".join(f"{each:.6f}\n" for each in times))
        argv = [sys.executable, "-m", "loadtests.steering", "--graph", str(where / "graph.json")]
        argv += ["--arrivals", str(where / "arrivals.csv"), "--slo-ms", str(SLO_MS), "--epsilon", str(_EPSILON)]
        argv += ["--policies", ",".join(CONTENDERS), "--seed", str(seed), "--json", str(where / "out.json")]
        subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - ours, with files of ours
        found: dict[str, Any] = json.loads((where / "out.json").read_text())
        return found


def _write(path: Path, made: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
