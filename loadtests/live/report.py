"""The trials so far: one JSON file, one Markdown table, one picture for each workload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from loadtests.live.emulated import LATENCY_S, SLO_MS
from loadtests.live.plots import plot
from loadtests.live.workloads import arrivals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HEAD = (
    "workload | contender | missed | not full | forecast | p50 | forecast | p99 | forecast | apart | replica-seconds | "
    "forecast | of static peak | idle p50 / p99 | busy | commit"
)


def write(folder: Path, workloads: Sequence[str], contenders: Sequence[str], seconds: float) -> str:
    """Write what stands in ``folder`` of runs of this length; return the table."""
    runs: dict[str, dict[str, dict[str, Any]]] = {}
    for workload in workloads:
        for contender in contenders:
            path = trial_path(folder, workload, contender, seconds)
            if path.exists():
                runs.setdefault(workload, {})[contender] = json.loads(path.read_text())
    for workload, found in runs.items():
        seed = next(iter(found.values()))["seed"]
        plot(workload, arrivals(workload, seconds, seed), found, SLO_MS, folder / f"{workload}-{seconds:g}s.png")
    told = table(runs, seconds)
    (folder / f"table-{seconds:g}s.md").write_text(told)
    return told


def trial_path(folder: Path, workload: str, contender: str, seconds: float) -> Path:
    """Return where a trial's figures are."""
    return folder / "trials" / f"{workload}-{contender}-{seconds:g}s.json"


def table(runs: dict[str, dict[str, dict[str, Any]]], seconds: float) -> str:
    """Return the figures of all trials; times in ms."""
    members = ", ".join(f"{name} {fixed * 1e3:g} + {row * 1e3:g} a row" for name, (fixed, row) in LATENCY_S.items())
    lines = [
        f"Live trials of {seconds:g} s: emulated members ({members} ms) on real Kafka and Ray Serve, objective",
        f"{SLO_MS:g} ms, one platform for each. `missed`: late, shed, dead or lost, of all events. `not full`: all but",
        "what every member answered. Times in ms; `forecast`: the simulator, on the same arrivals: it knows no answer",
        "without a member, so what it sheds is taken as answered then, and what it has late at the deadline, not in",
        "full. `busy`: of the cores' time; emulated members need none: where cores were busy it tells of the machine.",
        "",
        f"| {_HEAD} |",
        "|" + "---|" * (_HEAD.count("|") + 1),
    ]
    for workload, found in runs.items():
        best = found.get("static_peak", {}).get("replica_seconds")
        for contender, run in found.items():
            lines.append("| " + " | ".join((workload, contender, *_cells(run, best))) + " |")
    return "\n".join(lines) + "\n"


def _cells(run: dict[str, Any], static_replica_seconds: float | None) -> list[str]:
    live, told, idle = run["latency_ms"], run["forecast"], run["idle_ms"]
    apart = "" if not told["p99_ms"] or not live["p99"] else f"{told['p99_ms'] / live['p99'] - 1:+.0%}"
    full = run["outcomes"].get("full", 0) / run["events"]
    busy = run.get("cores_busy")
    return [
        f"{run['miss']:.2%}", f"{1 - full:.2%}", f"{told['miss']:.2%}", _ms(live["p50"]), _ms(told["p50_ms"]),
        _ms(live["p99"]), _ms(told["p99_ms"]), apart, f"{run['replica_seconds']:.0f}", f"{told['replica_seconds']:.0f}",
        f"{run['replica_seconds'] / static_replica_seconds:.0%}" if static_replica_seconds else "",
        f"{_ms(idle['p50'])} / {_ms(idle['p99'])}", "-" if busy is None else f"{busy:.0%}", run["about"]["commit"],
    ]  # fmt: skip


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
