"""``python -m loadtests.live``: the controller, Ray Serve's autoscaler and a static peak, on real Kafka and Ray Serve.

Members are emulated (``emulated.py``). Each trial has a platform of its own, so that nobody inherits anything, and a
file of its own: what was played at this commit is not played again unless ``--again``. All begin with a plan for the
rate of the first ten seconds (``static_peak``: for the busiest ten, which it knows beforehand). The simulator plays the
same arrivals beside each trial.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guidevane.local.platform import Platform
from loadtests.live.emulated import LATENCY_S, MOST
from loadtests.live.forecasting import forecast, opening, rate
from loadtests.live.report import trial_path, write
from loadtests.live.running import Trial, trial
from loadtests.live.workloads import arrivals
from loadtests.stream.report import about, commit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTENDERS = ("static_peak", "guidevane", "ray")
WORKLOADS = ("step", "spike", "azure_code")
_OUT = Path("loadtests/results/live")
_SAID = ("events", "miss", "outcomes", "latency_ms", "idle_ms", "cores_busy", "replica_seconds", "acts", "forecast")


def main() -> None:
    """Play what is missing, one after the other; write after each."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.live", description=__doc__)
    asked.add_argument("--workloads", default=",".join(WORKLOADS))
    asked.add_argument("--contenders", default=",".join(CONTENDERS))
    asked.add_argument("--seconds", type=float, default=600.0, help="of each trial (600)")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--trials", type=int, default=0, help="stop after so many (0: when all are done)")
    asked.add_argument(
        "--most", type=int, default=MOST, help=f"replicas that the controller may give a member ({MOST})"
    )
    asked.add_argument("--again", action="store_true", help="play also what was played at this commit")
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    workloads, contenders = told.workloads.split(","), told.contenders.split(",")
    wanted = [(workload, contender) for workload in workloads for contender in contenders]
    open_ = [each for each in wanted if told.again or not _played(trial_path(told.out, *each, told.seconds))]
    _say(f"{len(wanted)} trials of {told.seconds:g} s, {len(wanted) - len(open_)} played at {commit()}")
    for at, (workload, contender) in enumerate(open_[: told.trials or None], start=1):
        _say(f"{at} of {len(open_)}: {workload} x {contender}")
        times = arrivals(workload, told.seconds, told.seed)
        found = asyncio.run(_run(contender, times, told.most))
        found |= {"about": about(), "seconds": told.seconds, "seed": told.seed}
        found["forecast"] = forecast(contender, times, found["way_ms"])
        path = trial_path(told.out, workload, contender, told.seconds)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        keys = (
            "events",
            "miss",
            "outcomes",
            "latency_ms",
            "idle_ms",
            "cores_busy",
            "replica_seconds",
            "acts",
            "forecast",
        )
        _say(json.dumps({key: found[key] for key in keys}))
    sys.stdout.write(write(told.out, WORKLOADS, CONTENDERS, told.seconds))


def _played(path: Path) -> bool:
    return path.exists() and json.loads(path.read_text())["about"]["commit"] == commit()


async def _run(contender: str, times: NDArray[np.float64], most: int) -> dict[str, Any]:
    replicas, batch = opening(contender, times)
    with tempfile.TemporaryDirectory(prefix="guidevane-live-") as folder:
        async with Platform(
            "loadtests.live.emulated:pipeline", state_dir=Path(folder), without=["controller", "monitors"],
            progress=lambda what, _share: _say(what),
        ) as platform:  # fmt: skip
            keeping = asyncio.create_task(platform.watch())
            try:
                async with trial(platform) as standing:
                    return await _played_by(standing, contender, times, replicas, batch, most)
            finally:
                keeping.cancel()


async def _played_by(
    standing: Trial, contender: str, times: NDArray[np.float64], replicas: dict[str, int], batch: int, most: int
) -> dict[str, Any]:
    # Serve batches and queues requests by itself: the room hands on what it has.
    calls = 10_000 if contender == "ray" else max(replicas.values())
    how = "ray" if contender == "ray" else "external"
    _say(f"deploying {replicas}, batches of {batch}")
    await standing.deploy(how, replicas, 1 if contender == "ray" else batch, calls)
    _say("measuring single events")
    idle_ms = await standing.idle()
    alone_ms = 1e3 * max(fixed + row for fixed, row in LATENCY_S.values())
    single_ms = idle_ms["p50"] or 0.0
    if single_ms < alone_ms:
        raise SystemExit(f"single events take {single_ms} ms, members alone {alone_ms:g}: they do not answer")
    way_ms = single_ms - alone_ms
    _say(f"idle {idle_ms}, of which members {alone_ms:g} ms; playing")
    if contender == "guidevane":
        async with standing.steered(rate(times), most):
            found = await standing.play(times)
    else:
        found = await standing.play(times)
    return {**found, "idle_ms": idle_ms, "way_ms": round(way_ms, 1), "began_with": {**replicas, "batch": batch}}


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
