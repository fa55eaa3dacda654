# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane up``, ``down`` and ``demo``: the platform on this machine."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guidevane.commands.cluster import STATE_DIR, StateDir
from guidevane.commands.results import writable, write

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rich.console import Console

    from guidevane.local.platform import Platform, Rooms
    from guidevane.pipeline import Mode

_RATE = 100.0
RoomsOption = Annotated[
    str, typer.Option("--rooms", help="fused: the hot path in one process; apart: each room in its own.")
]
WithoutOption = Annotated[
    list[str], typer.Option("--without", help="monitors, controller or admin: a room that shall not run; repeatable.")
]
DeliveryOption = Annotated[
    str | None,
    typer.Option("--delivery", help="effective or transactional, whatever the pipeline declares."),
]


def up(
    pipeline: Annotated[str, typer.Argument(help="module:name, or the bare name of an example.")],
    *,
    state_dir: StateDir = STATE_DIR,
    rooms: RoomsOption = "fused",
    without: WithoutOption = [],  # noqa: B006 - typer reads it once and changes nothing
    delivery: DeliveryOption = None,
) -> None:
    """Run a pipeline on this machine: Kafka, Ray, all rooms; until Ctrl-C, or `guidevane down`."""
    from rich.console import Console

    from guidevane.commands.progress import Bars
    from guidevane.local.platform import Platform

    console = Console(stderr=True)
    mode = delivery_named(delivery)

    async def work() -> None:
        with Bars(console) as bars:
            asked = Platform(
                pipeline,
                state_dir=state_dir,
                rooms=rooms_named(rooms),
                without=without,
                delivery=mode,
                progress=bars.tell,
            )
            async with asked as platform:
                bars.stop()
                _announce(platform, console)
                try:
                    await platform.watch()
                finally:
                    console.print("draining")

    until_told(work())


def down(*, state_dir: StateDir = STATE_DIR) -> None:
    """End everything that runs under a state folder, also what a killed runner has left behind."""
    from guidevane.local.endpoints import down as end

    for line in end(state_dir):
        typer.echo(line)


def demo(
    pipeline: Annotated[str, typer.Argument(help="The bare name of an example.")] = "employment",
    *,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Events per second, Poisson, sent when due, all the time. Default: 100, and 300 from halfway on.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="For how long.")] = 60.0,
    triple: Annotated[
        bool | None,
        typer.Option("--triple/--steady", help="Whether the rate triples halfway. Default: unless --rate is given."),
    ] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Without the controller: settings stay as they begin.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the report, as JSON.", callback=writable)] = None,
    rooms: RoomsOption = "fused",
    delivery: DeliveryOption = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where to keep data and logs. Default: a new folder, removed after a good run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the arrival times.")] = 1,
) -> None:
    """Replay real records through the whole platform, watched; exit 0 if nothing was lost and the objective held."""
    import asyncio
    import tempfile

    from rich.console import Console

    from guidevane.clock import SystemClock
    from guidevane.commands.progress import Bars
    from guidevane.demo.report import verdict, whole
    from guidevane.demo.run import Demo, run_demo
    from guidevane.local.platform import Platform

    started_s = SystemClock().monotonic_s()
    console = Console(stderr=True)
    mode = delivery_named(delivery)
    wanted = Demo(
        pipeline=pipeline,
        rate_per_s=_RATE if rate is None else rate,
        seconds=seconds,
        seed=seed,
        triples=rate is None if triple is None else triple,
        steered=not fixed,
    ).checked()
    made: dict[str, Any] = {}
    folder = state_dir or Path(tempfile.mkdtemp(prefix="guidevane-demo-"))

    async def work() -> None:
        with Bars(console) as bars:
            async with Platform(
                pipeline,
                state_dir=folder,
                rooms=rooms_named(rooms),
                without=["controller"] if fixed else [],
                delivery=mode,
                progress=bars.tell,
            ) as platform:
                bars.stop()
                _announce(platform, console)
                keeping = asyncio.create_task(platform.watch())
                running = asyncio.create_task(
                    run_demo(wanted, platform.endpoints, console, started_s=started_s, state_dir=folder, rooms=rooms)
                )
                try:
                    await asyncio.wait({keeping, running}, return_when=asyncio.FIRST_COMPLETED)
                    if keeping.done():
                        # Something was given up: it says why, and there is nothing more to wait for.
                        await keeping
                    made.update(await running)
                finally:
                    for task in (keeping, running):
                        task.cancel()
                    await asyncio.gather(keeping, running, return_exceptions=True)

    try:
        until_told(work())
    finally:
        if made and report is not None:
            write(report, as_json_text(made) + "\n")
    if not made:
        typer.echo(f"stopped before there was anything to report; the logs are in {folder / 'logs'}", err=True)
        raise typer.Exit(130)
    typer.echo(as_json_text(made))
    console.print(verdict(made))
    good = whole(made) and bool(made["slo"]["met"])
    if good and state_dir is None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    elif not good:
        console.print(f"the logs of all rooms are in {folder / 'logs'}")
    if not good:
        raise typer.Exit(1)


def _announce(platform: Platform, console: Console) -> None:
    ends, name = platform.endpoints, platform.pipeline.name
    console.print(f"[b]{name}[/b] is up, rooms {platform.rooms}, delivery {platform.delivery}; Ctrl-C ends it")
    console.print(f"  events      Kafka {ends.kafka}, topic {platform.pipeline.topics.events}")
    console.print(f"  over HTTP   POST {ends.ingest}/v1/pipelines/{name}/events")
    console.print(f"  console     {ends.admin}")
    console.print(f"  addresses   {platform.state_dir / 'endpoints.json'}", soft_wrap=True)


def rooms_named(given: str) -> Rooms:
    """Return what `--rooms` says. Raises ``Misconfigured``."""
    from guidevane.errors import Misconfigured

    if given == "apart":
        return "apart"
    if given == "fused":
        return "fused"
    raise Misconfigured(f"--rooms {given}: write apart or fused")


def delivery_named(given: str | None, option: str = "--delivery") -> Mode | None:
    """Return what an option says. Raises ``Misconfigured``, which names it."""
    from guidevane.errors import Misconfigured

    if given is None:
        return None
    if given == "effective":
        return "effective"
    if given == "transactional":
        return "transactional"
    raise Misconfigured(f"{option} {given}: write effective or transactional")


def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, or until SIGINT or SIGTERM; the first one ends it in order, others wait for that."""
    import asyncio

    from guidevane.runtime.loop import loop_runner

    # Topics that come and go make the client talk; what matters of it reaches a person as an error.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def heard() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows the type: a coroutine that runs has a task
        told: list[int] = []

        def stop(number: int) -> None:
            told.append(number)
            if len(told) == 1:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        try:
            await work
        except asyncio.CancelledError:
            if not told:
                raise

    loop_runner()(heard())


def as_json_text(made: dict[str, Any]) -> str:
    """Return a report as a person reads it."""
    import orjson

    return orjson.dumps(made, option=orjson.OPT_INDENT_2).decode()
