# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane topics``: what the topics are, and what is on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from guidevane.commands.cluster import STATE_DIR, Bootstrap, Known, StateDir, ask, codec_for, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.codec import Codec
    from guidevane.log import Log, Record

app = typer.Typer(help="The topics: what they are, and what is on them.", no_args_is_help=True)


@app.command("list")
def list_topics(
    pipeline: Annotated[
        str, typer.Argument(envvar="GUIDEVANE_PIPELINE", help="The pipeline's name, or module:name.")
    ] = "employment",
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """List a pipeline's topics and the platform's: partitions, end offsets added up, what each carries."""
    from rich.table import Table

    from guidevane.commands.records import as_json
    from guidevane.commands.table import show_table

    name = name_of(pipeline)

    async def work(log: Log) -> None:
        rows = await overview(log, name)
        if json:
            for row in rows:
                typer.echo(as_json(row))
            return
        table = Table("topic", "partitions", "records ever", "carries", box=None)
        for row in rows:
            ever = "not to be seen" if row["records_ever"] is None else f"{row['records_ever']:,}"
            table.add_row(row["topic"], str(row["partitions"]), ever, row["carries"])
        show_table(table)

    ask(work, bootstrap, state_dir)


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(help="The topic, such as employment.decisions.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, nothing left out.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record.")] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="From the oldest record to the end as it is now; then stop.")
    ] = False,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Stop after this many records.")] = None,
    pipeline: Known = None,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Print records as they arrive, decoded. Goes on until Ctrl-C, --max or --until-end."""
    codec = codec_for(topic, pipeline)
    write = _as_line if json else _for_people

    async def work(log: Log) -> None:
        await follow(
            log,
            topic,
            codec,
            lambda line: typer.echo(write(line)),
            from_start=from_start,
            until_end=until_end,
            most=most,
        )

    ask(work, bootstrap, state_dir)


async def overview(log: Log, pipeline: str) -> list[dict[str, Any]]:
    """Return each topic with its partitions, the sum of its end offsets (``None``: not to be seen), what it carries."""
    from guidevane.errors import Misconfigured
    from guidevane.topics import AUDIT, CONTROL, TELEMETRY, Topics

    topics = Topics(pipeline)
    platform = {
        TELEMETRY: "What each room did, each second.",
        CONTROL: "What each room shall do; compacted.",
        AUDIT: "Who changed what, and why; hash-chained.",
    }
    carries = {
        getattr(topics, name): (told.__doc__ or "").strip()
        for name, told in vars(Topics).items()
        if isinstance(told, property)
    } | platform
    rows = []
    for topic, says in carries.items():
        try:
            ends = await log.ends(topic)
        except Misconfigured:
            rows.append({"topic": topic, "partitions": 0, "records_ever": None, "carries": says})
            continue
        rows.append({"topic": topic, "partitions": len(ends), "records_ever": sum(ends.values()), "carries": says})
    return rows


async def follow(
    log: Log,
    topic: str,
    codec: Codec,
    write: Callable[[dict[str, Any]], None],
    *,
    from_start: bool,
    until_end: bool,
    most: int | None,
    wanted: Callable[[Record], bool] = lambda _: True,
) -> None:
    """Hand each record to ``write``, as :func:`guidevane.commands.records.shown` has it."""
    from contextlib import aclosing

    from guidevane.commands.records import read_records, shown

    written = 0
    async with aclosing(read_records(log, topic, from_start=from_start or until_end, until_end=until_end)) as records:
        async for record in records:
            if wanted(record):
                write(shown(record, codec))
                written += 1
                if written == most:
                    return


def _as_line(line: dict[str, Any]) -> str:
    from guidevane.commands.records import as_json

    return as_json(line)


def _for_people(line: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    from guidevane.commands.records import as_json, plain

    at = datetime.fromtimestamp(line["timestamp_us"] / 1e6, UTC).isoformat(timespec="milliseconds")
    reasons = f"  {plain(line['reasons'].get('message', ''))}" if "reasons" in line else ""
    return f"{line['partition']}/{line['offset']}  {at}  {as_json(line['key'])}{reasons}  {as_json(line['value'])}"
