# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane doctor``: what is wrong here, why it matters, and the command that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from guidevane.commands.cluster import STATE_DIR, StateDir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.doctor import Check, Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


def doctor(
    pipeline: Annotated[
        str | None, typer.Argument(help="module:name, or the bare name of an example. Default: whatever runs.")
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a check, a line each.")] = False,
    bootstrap: Annotated[
        str | None, typer.Option(help="host:port of Kafka. Default: KAFKA_BOOTSTRAP_SERVERS, then what runs.")
    ] = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Look at this machine, Kafka, Ray and the rooms; exit 1 where something does not work.

    Clusters are those of KAFKA_BOOTSTRAP_SERVERS and RAY_ADDRESS, or what runs under --state-dir;
    where nothing runs yet, only the machine is looked at.
    """
    import asyncio
    import logging

    from guidevane.doctor import CHECKS, Status, Where, examine

    # What a client says of a broker that is away, the check says itself.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    found = asyncio.run(examine(CHECKS, Where.told(state_dir, bootstrap=bootstrap, reference=pipeline)))
    if json:
        _as_json(found)
    else:
        _for_people(found)
    if any(finding.status is Status.FAIL for _, finding in found):
        raise typer.Exit(1)


def _as_json(found: Sequence[tuple[Check, Finding]]) -> None:
    import dataclasses

    from guidevane.commands.records import as_json

    for check, finding in found:
        typer.echo(as_json({"check": check.name, **dataclasses.asdict(finding)}))


def _for_people(found: Sequence[tuple[Check, Finding]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from guidevane.commands.records import plain
    from guidevane.commands.table import show_table

    table = Table("check", "", "found", box=None)
    for check, finding in found:
        colour = _COLOURS[finding.status]
        lines = [escape(plain(finding.says))]
        if finding.why:
            lines.append(f"[dim]{escape(plain(finding.why))}[/dim]")
        if finding.mend:
            lines.append(f"→ [b]{escape(plain(finding.mend))}[/b]")
        table.add_row(check.name, f"[{colour}]{finding.status}[/{colour}]", "\n".join(lines))
    show_table(table)
    counts = [sum(finding.status == status for _, finding in found) for status in _COLOURS]
    typer.echo("{} ok, {} to watch, {} wrong, {} not looked at".format(*counts))
