"""What a person sees: a line a measurement while it runs; a table and a plot at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from loadtests.stream.drawing import draw
from loadtests.stream.field import FIELD, UNWATCHED
from loadtests.stream.report import Results, median, sustained_per_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from loadtests.stream.phases import Measured


_COLUMNS = (
    "contender", "sustained /s", "drained /s", "per CPU-s", "of bare", "p50 at 500/s", "p99", "p99.9", "p99 at 50 %",
)  # fmt: skip


def show(results: Results, console: Console) -> None:
    """Print the table; write it, and the plot, beside the JSON."""
    table = Table(*_COLUMNS, title="events per second, and milliseconds")
    found = rows(results.measured)
    for row in found:
        table.add_row(*row)
    console.print(table)
    for name, parts in results.measured.items():
        for made in parts.get("soak", []):
            console.print(_soaked(name, made))
    machine, of = results.kept["machine"], results.kept["commit"]
    where = (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB; commit {of}; {results.kept['at']}"
    )
    lines = ["| " + " | ".join(cells) + " |" for cells in (_COLUMNS, ["---", *["---:"] * (len(_COLUMNS) - 1)], *found)]
    failures = [
        f"* {name} could not be measured: {each['why']}"
        for name, parts in results.measured.items()
        for each in parts.get("failed", [])
    ]
    results.path.with_name("table.md").write_text("\n".join([f"{where}.", "", *lines, "", *failures]).rstrip() + "\n")
    results.path.with_name("plot.svg").write_text(draw(results.measured, where))
    console.print(f"written to {results.path}, table.md and plot.svg beside it")


def rows(measured: dict[str, dict[str, list[Any]]]) -> list[list[str]]:
    """Return the table's rows, in the order of the field."""
    bare = median(measured.get("bare", {}).get("drain", []), "events_per_cpu_s")
    made = []
    for name in (each.name for each in (*FIELD, *UNWATCHED)):
        if name in measured:
            parts = measured[name]
            fixed = [each["latency_ms"] for each in parts.get("fixed", [])]
            half = [each["latency_ms"] for each in parts.get("half", [])]
            per_cpu = median(parts.get("drain", []), "events_per_cpu_s")
            share = round(per_cpu / bare, 2) if per_cpu and bare else None
            cells = [
                sustained_per_s(parts), median(parts.get("drain", []), "events_per_s"), per_cpu, share,
                median(fixed, "p50"), median(fixed, "p99"), median(fixed, "p999"), median(half, "p99"),
            ]  # fmt: skip
            made.append([name, *map(_figure, cells)])
    return made


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004 - two digits


def held(name: str, made: Measured) -> str:
    """Return one measurement in two lines, for who watches."""
    ms = made.latency_ms
    cpu = ", ".join(f"{what} {seconds:.1f}" for what, seconds in made.cpu_s.items())
    offered = f"{made.rate_per_s:.0f}/s" if made.rate_per_s else "burst"
    return (
        f"[b]{name:<16}[/b] offered {offered:>7}  decided {made.events_per_s:>6.0f}/s"
        f"  {made.events_per_cpu_s:>6.0f} per CPU-s  p50 {ms['p50']} p99 {ms['p99']} p99.9 {ms['p999']} ms"
        f"  backlog {made.backlog_s[1]} s{'' if made.bounded else ' NOT bounded'}"
        f"  lost {made.lost}  twice {made.duplicated}  full {made.full}/{made.events}\n"
        f"             CPU s: {cpu}; broker {made.broker_cpu_s}; generator p99 {made.generator_lag_ms['p99']} ms late"
    )


def _soaked(name: str, made: Mapping[str, Any]) -> str:
    """Return a soak in two lines: what was answered, and how fast each process grew."""
    growth = ", ".join(f"{what} {slope:+.1f}" for what, slope in made["slope_mib_per_h"].items())
    return (
        f"[b]{name:<16}[/b] {made['events']} events in {made['seconds']:.0f} s"
        f"  lost {made['lost']}  twice {made['duplicated']}\n                 MiB an hour: {growth}"
    )
