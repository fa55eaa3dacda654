"""The whole pipeline under an open loop, fused and apart: one JSON file, one table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "stream" / "latest.json"


def run(rooms: str, *, rate: float, seconds: float) -> dict[str, Any]:
    """Run the demo in a process of its own; return its report, also where the objective was missed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "guidevane.cli", "demo", "employment", "--rooms", rooms,
            "--rate", str(rate), "--seconds", str(seconds), "--report", str(report),
        ]  # fmt: skip
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
        if not report.exists():
            raise SystemExit(f"the {rooms} run gave no report")
        made: dict[str, Any] = json.loads(report.read_text())
        return made


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"cores": os.cpu_count(), "memory_gib": round(memory_bytes / 2**30, 1), "cpu": model}


def commit() -> str:
    """Return the commit that was measured, marked where the tree had changes."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(git, check=False, capture_output=True, text=True).stdout.strip()  # noqa: S603 - as written


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    console = Console()
    table = Table("rooms", "events/s", "p50 ms", "p99 ms", "p999 ms", "late", "lost", "twice", title="end to end")
    runs = {}
    for rooms in ("fused", "apart"):
        made = runs[rooms] = run(rooms, rate=asked.rate, seconds=asked.seconds)
        ms = made["latency_ms"]
        late = f"{100 * made['late'] / max(made['events'], 1):.2f} %"
        table.add_row(
            rooms, f"{made['rate_per_s']:.0f}", str(ms["p50"]), str(ms["p99"]), str(ms["p999"]), late,
            str(made["lost"]), str(made["duplicated"]),
        )  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"at": at, "commit": commit(), "machine": machine(), "rate_per_s": asked.rate, "runs": runs}
    asked.out.write_text(json.dumps(told, indent=1) + "\n")
    console.print(table)
    console.print(f"written to {asked.out}")


if __name__ == "__main__":
    main()
