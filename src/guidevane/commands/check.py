# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane check``: every mistake in a pipeline, before anything runs."""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    pipeline: Annotated[str, typer.Argument(help="module:name, or the bare name of an example.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a mistake, a line each.")] = False,
) -> None:
    """Name every mistake in a pipeline, with its path and what to write instead; exit 1 where there is one."""
    from guidevane.loading import examine

    made, wrong = examine(pipeline)
    if json:
        import orjson

        for each in wrong:
            typer.echo(orjson.dumps({"path": each.path, "says": each.says, "instead": each.instead}).decode())
    elif wrong or made is None:
        for each in wrong:
            typer.echo(str(each), err=True)
        typer.echo(f"{pipeline}: {len(wrong)} mistake{'s' if len(wrong) != 1 else ''}", err=True)
    else:
        members = ", ".join(made.ensemble.names)
        typer.echo(
            f"{made.name}: no mistakes. {made.event.contract} → {made.vector.width} numbers → {members} → "
            f"{made.decision.positive}/{made.decision.negative} within {made.slo.within_ms:.0f} ms"
        )
    if wrong or made is None:
        raise typer.Exit(1)
