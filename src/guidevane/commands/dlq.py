# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane dlq``: the events that could not be decided, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from guidevane.commands.cluster import STATE_DIR, Bootstrap, Known, StateDir, ask, codec_for
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from guidevane.codec import Codec
    from guidevane.log import Log

app = typer.Typer(help="Dead letters: the events that could not be decided, and why.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline's name, such as employment.")]


@app.command("list")
def list_letters(
    name: Name,
    *,
    stage: Annotated[str | None, typer.Option(help="Only what this stage gave up on.")] = None,
    cause: Annotated[str | None, typer.Option(help="Only this cause, such as truncated.")] = None,
    most: Annotated[int, typer.Option("--max", min=1, help="The newest so many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, nothing left out.")] = False,
    pipeline: Known = None,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """List the newest dead letters, oldest first."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from guidevane.commands.records import as_json, plain

    codec = codec_for(f"{name}.dlq", pipeline)

    async def work(log: Log) -> None:
        letters = await newest(log, name, codec, stage=stage, cause=cause, most=most)
        if json:
            for letter in letters:
                typer.echo(as_json(letter))
            return
        table = Table("place", "stage", "cause", "event", "why", box=None)
        for letter in letters:
            why = letter.get("reasons", {})
            event = (
                letter["headers"].get("event_id") or f"{why.get('topic')}/{why.get('partition')}/{why.get('offset')}"
            )
            place = f"{letter['partition']}/{letter['offset']}"
            cells = (place, why.get("stage", ""), why.get("exception.class", ""), event, why.get("message", ""))
            # Square brackets would be markup to rich.
            table.add_row(*(escape(plain(cell)) for cell in cells))
        Console().print(table)
        typer.echo(f"{len(letters)} dead letters; see one whole: guidevane dlq show {name} PLACE")

    ask(work, bootstrap, state_dir)


@app.command()
def show(
    name: Name,
    place: Annotated[str, typer.Argument(help="partition/offset, as `dlq list` prints it.")],
    *,
    pipeline: Known = None,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Print one dead letter whole, as JSON: reasons, headers, key, and the value as far as it can be decoded."""
    from guidevane.commands.records import as_json

    codec = codec_for(f"{name}.dlq", pipeline)

    async def work(log: Log) -> None:
        typer.echo(as_json(await one(log, name, codec, place), indent=True))

    ask(work, bootstrap, state_dir)


async def newest(
    log: Log, name: str, codec: Codec, *, stage: str | None = None, cause: str | None = None, most: int
) -> list[dict[str, Any]]:
    """Return the newest dead letters that match, oldest first, as they are shown."""
    from collections import deque
    from contextlib import aclosing

    from guidevane.commands.records import read_records, shown
    from guidevane.runtime.deadletter import reasons

    by_partition: dict[int, deque[Any]] = {}
    async with aclosing(read_records(log, f"{name}.dlq", from_start=True, until_end=True)) as records:
        async for record in records:
            why = reasons(record)
            if stage in {None, why.get("stage")} and cause in {None, why.get("exception.class")}:
                # Partitions are read one after another: the newest of all are among the newest of each.
                by_partition.setdefault(record.partition, deque(maxlen=most)).append(record)
    last = sorted((each for part in by_partition.values() for each in part), key=lambda each: each.timestamp_us)[-most:]
    return [shown(each, codec) for each in last]


async def one(log: Log, name: str, codec: Codec, place: str) -> dict[str, Any]:
    """Return the dead letter at ``partition/offset``. Raises ``Misconfigured`` where there is none."""
    from guidevane.commands.records import shown
    from guidevane.log import Partition

    number, _, offset = place.partition("/")
    if not (number.isdecimal() and offset.isdecimal()):
        raise Misconfigured(f"{place!r} is no place: write partition/offset, such as 3/42")
    topic = f"{name}.dlq"
    ends = await log.ends(topic)
    if int(number) not in ends:
        raise Misconfigured(f"{topic} has partitions 0 to {max(ends)}, not {number}")
    for record in await log.read(Partition(topic, int(number)), int(offset), int(offset) + 1):
        return shown(record, codec)
    raise Misconfigured(f"{topic} has no record at {place}: partition {number} ends at {ends[int(number)]}")
