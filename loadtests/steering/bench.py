"""All cells, all policies: JSON, a Markdown table, timelines. ``make bench-steering``; ``FULL=1`` for everything."""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from guidevane.errors import Misconfigured
from loadtests.steering import cells, policies, scores
from loadtests.steering.comparing import ORACLE, OURS, Played, compare
from loadtests.steering.keeping import Kept
from loadtests.steering.playing import play
from loadtests.steering.report import report
from loadtests.stream.report import commit, machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loadtests.steering.case import Case
    from loadtests.steering.cells import Cell

RESULTS = Path(__file__).parents[1] / "results" / "steering"
QUICK = "guidevane,inferline,ray,hpa,keda,mark,static_mean,static_peak,oracle"
FEW = "guidevane,inferline,hpa,static_peak,oracle"
PLOTTED = ("image-spike-*", "cascade-step-*", "social-diurnal-*", "ensemble-spike-*", "unseen1-*", "unseen3-*")


def play_cell(cell: Cell, names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Play one cell; draw it where it is one of those that are drawn. Returns its scores by policy."""
    case = cell.case()
    played = compare(case, names, kept=Kept())
    made = {name: _scored(cell, case, each) for name, each in played.items()}
    if any(fnmatch.fnmatch(cell.name, pattern) for pattern in PLOTTED):
        from loadtests.steering.plots import timeline  # noqa: PLC0415 - half a second that only drawn cells cost

        timeline(folder / f"{cell.name}.png", cell.name, case, played)
    return made


def play_ours(cell: Cell, before: Mapping[str, Any]) -> dict[str, Any]:
    """Play our policy alone; what the others did, and what the oracle cost, stands as it was. Returns all scores."""
    case = cell.case()
    run = play(policies.POLICIES[OURS](policies.Prepared(case))[0], case)
    oracle_usd = before[ORACLE]["cost_usd"] if before[ORACLE]["kept"] else None
    made = {**before, OURS: _scored(cell, case, Played(run, scores.score(run, case, oracle_usd)))}
    if oracle_usd is not None and made[OURS]["kept"] and made[OURS]["cost_usd"] < oracle_usd:
        # Who knows the future could have done what we did.
        for each in made.values():
            each["oracle_ratio"] = scores.ratio(each["cost_usd"], made[OURS]["cost_usd"])
    return made


def _scored(cell: Cell, case: Case, played: Played) -> dict[str, Any]:
    rises = [scores.converged_s(played.run, case, at) for at in cell.rises_s]
    return {**played.score.plain(), "converged_s": rises, "visits_left_out": played.run.left_out}


def play_all(
    chosen: Sequence[Cell], names: Sequence[str], path: Path, processes: int, console: Console, *, ours: bool = False
) -> None:
    """Play cells side by side; each is written when it is done, and earlier results of other cells are kept.

    ``ours``: play our policy alone, where the others and the oracle were played before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"cells": {}}
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    context = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, console=console) as progress,
        ProcessPoolExecutor(processes, mp_context=context) as pool,
    ):
        task = progress.add_task("cells", total=len(chosen))
        known = {name: cell["policies"] for name, cell in told["cells"].items() if ORACLE in cell["policies"]}
        running = {
            pool.submit(play_ours, cell, known[cell.name])
            if ours and cell.name in known
            else pool.submit(play_cell, cell, names, path.parent): cell
            for cell in chosen
        }
        for done in as_completed(running):
            cell = running[done]
            before = told["cells"].get(cell.name, {}) if ours and cell.name in known else {}
            told["cells"][cell.name] = {"commit": commit(), **before, "ours": commit(), "policies": done.result()}
            told |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
            told["cells"] = dict(sorted(told["cells"].items()))
            path.write_text(json.dumps(told, indent=1) + "\n")
            progress.update(task, advance=1, description=cell.name)
    path.with_suffix(".md").write_text(report(told))


def chosen_cells(pattern: str, which: str) -> list[Cell]:
    """Return the cells of a choice (``quick``, ``full``, ``heaps``, ``drawn`` or ``held-out``) whose names match.

    Raises:
        Misconfigured: none does; the message lists them.
    """
    if which in {"drawn", "held-out"}:
        every = cells.drawn_by_number(held_out=which == "held-out")
    else:
        every = {"full": cells.full, "heaps": cells.heaped}.get(which, cells.quick)()
    found = [each for each in every if fnmatch.fnmatch(each.name, pattern)]
    if not found:
        raise Misconfigured(f"no cell is called {pattern!r} → one of: {', '.join(each.name for each in every)}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.steering.bench", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    for name, what in (
        ("full", "all pipelines, workloads, rates, start-ups and seeds"),
        ("heaps", "events that come in heaps, half an hour each"),
        ("drawn", "random graphs and traffic: those to work with"),
        ("held-out", "random graphs and traffic: those to be judged by"),
    ):
        which.add_argument(f"--{name}", action="store_const", const=name, dest="which", default="quick", help=what)
    parser.add_argument("--only", default="*", help="cells by pattern, as in 'image-*'; results of others are kept")
    parser.add_argument("--policies", help="comma-separated; else the usual ones")
    parser.add_argument("--ours", action="store_true", help="play our policy alone; what others did stands as it was")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="the JSON file; the table and the plots go beside it")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    usual = {"quick": QUICK, "full": ",".join(policies.POLICIES)}.get(options.which, FEW)
    names = (options.policies or usual).split(",")
    try:
        policies.check(names)
        chosen = chosen_cells(options.only, options.which)
        path = options.out or RESULTS / f"{options.which}.json"
        play_all(chosen, names, path, options.processes, console, ours=options.ours)
    except Misconfigured as wrong:
        console.print(str(wrong), style="red", soft_wrap=True, markup=False)
        return 2
    console.print(f"written to {path}, {path.with_suffix('.md').name} and plots beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
