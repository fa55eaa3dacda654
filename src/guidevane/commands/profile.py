# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane profile``: how long members take on this machine, by batch size, through their real deployment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guidevane.commands.results import writable, write
from guidevane.commands.running import as_json_text, until_told
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.profiling.measured import Deployed, Quantile

_BATCHES = "1,2,4,8,16,32,64,128,256"


def profile(
    pipeline: Annotated[str, typer.Argument(help="module:name, or the bare name of an example.")],
    *,
    member: Annotated[str | None, typer.Option(help="Only this one, alone in its replica. Default: all.")] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes.")] = _BATCHES,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long each batch size is called, one call at a time.")
    ] = 2.0,
    variants: Annotated[
        bool | None,
        typer.Option(
            "--variants/--no-variants", help="Also bfloat16, torch.compile, CUDA. Default: with --member only."
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="USD an hour of one replica. Default: by its CPUs and GPUs.")
    ] = None,
    usd_per_cpu_hour: Annotated[float, typer.Option(min=0)] = 0.04,
    usd_per_gpu_hour: Annotated[float, typer.Option(min=0)] = 0.7,
    json: Annotated[
        Path | None, typer.Option(help="Where to write the graph that `guidevane plan` reads.", callback=writable)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Where to draw latency against batch size, as SVG.", callback=writable)
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where the local Ray keeps its logs. Default: a new folder.")
    ] = None,
) -> None:
    """Measure latency against batch size, start-up and the stages around; p50 and p99 with 95 % intervals.

    Uses the Ray that RAY_ADDRESS names, or starts one. The JSON is a graph for guidevane plan and for the controller.
    """
    import tempfile

    from rich.console import Console

    from guidevane.commands.progress import Bars
    from guidevane.loading import load_pipeline
    from guidevane.profiling.run import Asked
    from guidevane.profiling.run import profile as measure

    asked = Asked(
        member=member, batches=_sizes(batches), seconds=seconds,
        variants=member is not None if variants is None else variants, price=price,
        usd_per_cpu_hour=usd_per_cpu_hour, usd_per_gpu_hour=usd_per_gpu_hour,
    )  # fmt: skip
    loaded = load_pipeline(pipeline)
    asked.check(loaded)
    folder = state_dir or Path(tempfile.mkdtemp(prefix="guidevane-profile-"))
    console = Console(stderr=True)
    made: list[tuple[list[Deployed], dict[str, Any]]] = []

    async def work() -> None:
        with Bars(console) as bars:
            made.append(await measure(pipeline, loaded, asked, state_dir=folder, progress=bars.tell))

    until_told(work())
    if not made:
        typer.echo(f"stopped before everything was measured; logs are in {folder / 'logs'}", err=True)
        raise typer.Exit(130)
    deployed, document = made[0]
    _show(deployed, document)
    if json is not None:
        write(json, as_json_text(document) + "\n")
        typer.echo(f"{json}: ask it with guidevane plan {json} --slo {loaded.slo.within_ms:g}ms --rate 100")
    if plot is not None:
        write(plot, _drawn(loaded.name, deployed))
    if state_dir is None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _sizes(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise Misconfigured(f"--batches {text!r} → write sizes such as {_BATCHES}")
    return tuple(int(each) for each in text.split(","))


def _show(deployed: Sequence[Deployed], document: dict[str, Any]) -> None:
    from rich.table import Table

    from guidevane.commands.table import show_table

    for each in deployed:
        for curve in each.curves:
            together = "" if curve.members == (each.name,) else f" ({', '.join(curve.members)} together)"
            typer.echo(f"{each.name}{together}, {curve.kind}: ready after {curve.startup_s:.1f} s")
            table = Table(box=None)
            for name in ("batch", "calls", "computing p50 ms", "p99 ms", "call p50 ms", "call p99 ms", "rows/s"):
                table.add_column(name, justify="right", no_wrap=True)
            for point in curve.points:
                table.add_row(
                    f"{point.batch}", f"{point.calls}", _said(point.service_p50), _said(point.service_p99),
                    _said(point.call_p50), _said(point.call_p99),
                    f"{point.batch / max(point.service_p50.at, 1e-9):.0f}",
                )  # fmt: skip
            show_table(table)
        for other in each.untried:
            typer.echo(f"{each.name}, {other.kind}: not tried, {other.why}")
    stages = {name: each["latency_ms"] for name, each in document["stages"].items() if "latency_ms" in each}
    for name, latency in stages.items():
        typer.echo(f"{name}: " + ", ".join(f"{size}: {ms:.2f} ms" for size, ms in latency.items()))
    typer.echo(f"a call takes {document['hop_ms']:.1f} ms beyond computing, at the median")


def _said(found: Quantile) -> str:
    return f"{found.at * 1e3:.2f} [{found.low * 1e3:.2f}, {found.high * 1e3:.2f}]"


def _drawn(name: str, deployed: Sequence[Deployed]) -> str:
    from guidevane.profiling.plot import Drawn, draw

    lines = []
    for each in deployed:
        for curve in each.curves:
            for quantile in ("p50", "p99"):
                found = [(point.batch, getattr(point, f"service_{quantile}")) for point in curve.points]
                points = [(float(batch), _above(q.at), _above(q.low), _above(q.high)) for batch, q in found]
                lines.append(Drawn(f"{each.name} {curve.kind} {quantile}", points, dashed=quantile == "p99"))
    return draw(f"{name}: what one batch takes a replica", "batch", "milliseconds", lines)


def _above(seconds: float) -> float:
    # A logarithm has no zero; a microsecond is below what can be seen.
    return max(seconds * 1e3, 1e-3)
