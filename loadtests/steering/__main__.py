"""Play one case: ``python -m loadtests.steering --graph G.json --arrivals A.csv --slo-ms 300 --policies ray,hpa``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from guidevane.commands.results import writable, write
from guidevane.control.reading import read_graph
from guidevane.errors import Misconfigured
from guidevane.repeated import repeated_key
from loadtests.steering import arrivals, policies
from loadtests.steering.case import Case
from loadtests.steering.comparing import compare
from loadtests.steering.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT = "guidevane,inferline,ray,hpa,keda,static_peak,oracle"


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        Misconfigured: it cannot be read, is no JSON (the message names the line), or has a name twice, of which a
            parser would keep the last.
    """
    try:
        text = path.read_text("utf-8-sig")
        written = json.loads(text)
    except OSError as wrong:
        raise Misconfigured(f"{path} cannot be read: {wrong.strerror or wrong}") from wrong
    except (ValueError, RecursionError) as wrong:
        raise Misconfigured(f"{path} is no JSON: {wrong}") from wrong
    if (twice := repeated_key(text.encode(), written)) is not None:
        raise Misconfigured(f"{path}: {twice!r} stands twice in one object → write each name once")
    return written


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.steering", description=__doc__)
    parser.add_argument("--graph", type=Path, required=True, help="a pipeline, see loadtests/steering/README.md")
    parser.add_argument("--arrivals", type=Path, required=True, help="one arrival time in seconds a line")
    parser.add_argument("--slo-ms", type=float, required=True, help="the end-to-end objective")
    parser.add_argument("--epsilon", type=float, default=0.01, help="the share of events that may miss it (0.01)")
    parser.add_argument("--policies", default=DEFAULT, help=f"comma-separated; known: {', '.join(policies.POLICIES)}")
    parser.add_argument("--seed", type=int, default=1, help="of the ways through the graph and the jitter (1)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    return parser.parse_args(arguments)


def read_case(options: argparse.Namespace) -> Case:
    """Return what the options name.

    Raises:
        Misconfigured: a file or a number that cannot be played; each line of the message begins with where it is.
    """
    if options.json is not None and not options.json.resolve().parent.is_dir():
        raise Misconfigured(f"the folder of --json {options.json} is not there → make it")
    writable(options.json)
    if options.seed < 0:
        raise Misconfigured(f"seed {options.seed} is negative → write a whole number from 0")
    written = read_json(options.graph)
    try:
        graph = read_graph(written)
    except Misconfigured as wrong:
        lines = str(wrong).splitlines()
        raise Misconfigured("\n".join(f"{options.graph}: {line}" for line in lines)) from wrong
    return Case(graph, arrivals.read(options.arrivals), options.slo_ms / 1e3, options.epsilon, options.seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, play, write, show; return the exit status."""
    options = asked(arguments)
    # Where nobody looks, nothing is cut to a screen's width.
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
    names = [each.strip() for each in options.policies.split(",") if each.strip()]
    try:
        policies.check(names)
        case = read_case(options)
        if missing := case.floor_missing():
            console.print(f"[yellow]warning:[/] {missing}. The policies are played all the same.", soft_wrap=True)
        columns = (TextColumn("{task.description:14}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            scores = {name: each.score for name, each in compare(case, names, progress=progress).items()}
        if options.json is not None:
            write(options.json, json.dumps({name: each.plain() for name, each in scores.items()}, indent=1) + "\n")
    except Misconfigured as wrong:
        console.print(str(wrong), style="red", soft_wrap=True, markup=False)
        return 2
    console.print(table(scores, title=f"{options.graph.name} × {options.arrivals.name}, {options.slo_ms:g} ms"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
