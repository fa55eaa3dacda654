# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane drill``: faults under load on the real platform, judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guidevane.commands.results import writable, write
from guidevane.commands.running import RoomsOption, as_json_text, delivery_named, rooms_named, until_told

if TYPE_CHECKING:
    from rich.console import Console

    from guidevane.drill.run import Drill, Result
    from guidevane.drill.trial import Trial


def drill(
    pipeline: Annotated[str, typer.Argument(help="A light one that ships, or the bare name of an example.")] = "",
    *,
    fault: Annotated[
        list[str] | None, typer.Option(help="Only this one, or all that begin so (kill, broker). May be repeated.")
    ] = None,
    mode: Annotated[list[str] | None, typer.Option(help="effective or transactional; repeat for both.")] = None,
    rooms: RoomsOption = "apart",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="On three brokers, with the faults of a cluster instead.")
    ] = False,
    rate: Annotated[float, typer.Option(min=1.0, help="Events per second, Poisson, sent when due.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the load and of every fault.")] = 1,
    times: Annotated[int, typer.Option(min=1, help="How often; then the certificate says how recoveries vary.")] = 1,
    json: Annotated[
        Path | None, typer.Option(help="Where to write the certificate as JSON.", callback=writable)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where to write the certificate as Markdown.", callback=writable)
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where to keep data and logs. Default: a new folder, removed if all went well.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Tell what faults there are, and do nothing.")] = False,
) -> None:
    """Break things under load and judge what Kafka holds; exit 0 if the promise was kept through every fault."""
    import tempfile

    from rich.console import Console

    from guidevane.drill.run import LIGHT, Drill, chosen

    faults = tuple(fault or ())
    if list_:
        for each in chosen(faults, rooms_named(rooms), cluster=cluster):
            typer.echo(f"{each.name:<24}{each.does}")
        return
    console = Console(stderr=True)
    folder = state_dir or Path(tempfile.mkdtemp(prefix="guidevane-drill-"))
    results: list[Result] = []
    wanted = [
        Drill(
            faults=faults, mode=delivery_named(each, "--mode") or "effective", pipeline=pipeline or LIGHT,
            rooms=rooms_named(rooms), rate_per_s=rate, seed=seed, times=times, cluster=cluster,
        )
        for each in mode or ["effective"]
    ]  # fmt: skip
    # Said before anything starts: a misspelt name must not cost a minute.
    chosen(faults, rooms_named(rooms), cluster=cluster)
    try:
        for one in wanted:
            _one(one, folder / one.mode, console, results)
    finally:
        if results:
            _write(results, json, report, console)
    if not results:
        typer.echo(f"stopped before there was anything to certify; the logs are in {folder}", err=True)
        raise typer.Exit(130)
    if not all(result.ok for result in results):
        console.print(f"the ledgers and the logs of all rooms are in {folder}")
        raise typer.Exit(1)
    if state_dir is None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _one(wanted: Drill, folder: Path, console: Console, results: list[Result]) -> None:
    from guidevane.clock import SystemClock
    from guidevane.commands.progress import Bars
    from guidevane.drill.run import Result, run_drill

    console.print(f"mode {wanted.mode}, rooms {wanted.rooms}, seed {wanted.seed}")
    trials: list[Trial] = []
    clock = SystemClock()
    began_s = clock.monotonic_s()

    async def work() -> None:
        with Bars(console) as bars:

            def tell(fault: str, doing: str) -> None:
                bars.tell(f"{fault}: {doing}", 1.0 if doing.startswith("=") else None)

            await run_drill(wanted, trials, state_dir=folder, progress=bars.tell, tell=tell)

    try:
        until_told(work())
    finally:
        if trials:
            results.append(Result(drill=wanted, trials=tuple(trials), seconds=round(clock.monotonic_s() - began_s, 1)))


def _write(results: list[Result], json: Path | None, report: Path | None, console: Console) -> None:
    from guidevane.drill.certificate import as_json, as_markdown

    text = as_markdown(results)
    for path, content in ((json, as_json_text(as_json(results))), (report, text)):
        if path is not None:
            write(path, content + "\n")
    if report is None:
        typer.echo(text)
    else:
        console.print(f"the certificate is {report}")
