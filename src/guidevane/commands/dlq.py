# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane dlq``: the events that could not be decided, why, and sending them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from guidevane.commands.cluster import STATE_DIR, Bootstrap, Known, StateDir, ask, codec_for, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.codec import Codec
    from guidevane.commands.letters import Wanted
    from guidevane.log import Log
    from guidevane.runtime.redrive import Step

app = typer.Typer(help="Dead letters: the events that could not be decided, and why.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE", callback=name_of, help="The pipeline's name, such as employment, or module:name."
    ),
]
Stage = Annotated[str | None, typer.Option(help="Only what this stage gave up on.")]
Cause = Annotated[
    str | None, typer.Option("--cause", "--reason", help="Only this cause (exception class), such as truncated.")
]
Topic = Annotated[str | None, typer.Option(help="Only what was read from this topic.")]
PartitionOption = Annotated[int | None, typer.Option("--partition", min=0, help="Only this partition.")]
EventId = Annotated[str | None, typer.Option("--event-id", help="Only this event.")]
Since = Annotated[str | None, typer.Option(help="Only what died since then: 2026-11-22T10:00:00 (UTC), or 2h ago.")]
Until = Annotated[str | None, typer.Option(help="Only what died before then, written as for --since.")]


@app.command("list")
def list_letters(
    name: Name,
    *,
    stage: Stage = None,
    cause: Cause = None,
    topic: Topic = None,
    partition: PartitionOption = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    most: Annotated[int, typer.Option("--max", min=1, help="The newest so many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, nothing left out.")] = False,
    pipeline: Known = None,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """List the newest dead letters, oldest first; ``redriven`` says where those lie that were sent again."""
    from rich.markup import escape
    from rich.table import Table

    from guidevane.commands.letters import Wanted, find, known
    from guidevane.commands.records import as_json, plain
    from guidevane.commands.table import show_table

    codec = codec_for(f"{name}.dlq", pipeline)
    wanted = _wanted(stage, cause, topic, partition, event_id, since, until)

    async def work(log: Log) -> None:
        letters = await newest(log, name, codec, wanted, most=most)
        if json:
            for letter in letters:
                typer.echo(as_json(letter))
            return
        table = Table("place", "stage", "cause", "event", "redriven", "why", box=None)
        for letter in letters:
            why = letter.get("reasons", {})
            event = (
                letter["headers"].get("event_id") or f"{why.get('topic')}/{why.get('partition')}/{why.get('offset')}"
            )
            place = f"{letter['partition']}/{letter['offset']}"
            cells = (
                place, why.get("stage", ""), why.get("exception.class", ""), event, letter["redriven"] or "",
                why.get("message", ""),
            )  # fmt: skip
            # Square brackets would be markup to rich.
            table.add_row(*(escape(plain(cell)) for cell in cells))
        show_table(table)
        if letters:
            typer.echo(f"{len(letters)} dead letters; see one whole: guidevane dlq show {name} PLACE")
        else:
            typer.echo(f"0 dead letters of that kind; {known(await find(log, f'{name}.dlq', Wanted()))}")

    ask(work, bootstrap, state_dir)


@app.command()
def show(
    name: Name,
    place: Annotated[str, typer.Argument(help="partition/offset, as `dlq list` prints it.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="On one line.")] = False,
    pipeline: Known = None,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Print one dead letter whole, as JSON: reasons, headers, key, and the value as far as it can be decoded."""
    from guidevane.commands.letters import one
    from guidevane.commands.records import as_json, shown
    from guidevane.runtime.redrive import journal
    from guidevane.topics import Topics

    codec = codec_for(f"{name}.dlq", pipeline)

    async def work(log: Log) -> None:
        record = await one(log, f"{name}.dlq", place)
        sent = (await journal(log, Topics(name))).get(place)
        typer.echo(as_json(shown(record, codec) | {"redriven": sent.at if sent else None}, indent=not json))

    ask(work, bootstrap, state_dir)


@app.command()
def redrive(
    name: Name,
    places: Annotated[list[str] | None, typer.Argument(metavar="[PLACE]...", help="As `dlq list` prints them.")] = None,
    *,
    stage: Stage = None,
    cause: Cause = None,
    topic: Topic = None,
    partition: PartitionOption = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter there is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="What became of each, one JSON object a line.")] = False,
    bootstrap: Bootstrap = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Send dead letters again, each once: key, value and headers as they first came, to the pipeline's first topic.

    Mend what killed them first. What was sent again before is not sent a second time; what dies
    again has a new letter, which may be.
    """
    from guidevane.errors import Misconfigured

    wanted = _wanted(stage, cause, topic, partition, event_id, since, until, places or ())
    if wanted == _wanted() and not everything:
        raise Misconfigured("say which dead letters: places, filters (see --help), or --all")

    async def work(log: Log) -> None:
        from rich.console import Console
        from rich.progress import Progress

        from guidevane.commands.letters import Wanted, find, known, named
        from guidevane.runtime import redrive as engine
        from guidevane.topics import Topics

        topics = Topics(name)
        letters = await named(log, topics.dlq, wanted)
        # A pipeline that was set up by an earlier version has no journal yet.
        await log.ensure([spec for spec in topics.specs() if spec.name == topics.redrives])
        steps = await engine.plan(log, topics, letters)
        due = sum(step.state == "due" for step in steps)
        if not dry_run:
            with Progress(console=Console(stderr=True)) as bars:
                bar = bars.add_task("sending again", total=due)
                await engine.redrive(log, topics, steps, lambda done: bars.advance(bar, done))
        _tell(steps, dry_run=dry_run, json=json)
        if not letters:
            typer.echo(f"No dead letter is meant; {known(await find(log, topics.dlq, Wanted()))}", err=True)

    ask(work, bootstrap, state_dir)


def _tell(steps: Sequence[Step], *, dry_run: bool, json: bool) -> None:
    from guidevane.commands.records import as_json, text_of
    from guidevane.runtime.deadletter import reasons
    from guidevane.runtime.redrive import place_of

    words = {"due": "would be sent" if dry_run else "sent", "sent": "was sent before", "gone": "is gone"}
    for step in steps:
        why = reasons(step.letter)
        if json:
            row = {
                "place": place_of(step.letter), "did": words[step.state], "at": step.at,
                "event_id": text_of(step.letter.header("event_id")), "stage": why.get("stage"),
                "cause": why.get("exception.class"),
            }  # fmt: skip
            typer.echo(as_json(row))
    counts = {state: sum(step.state == state for step in steps) for state in words}
    typer.echo(
        f"{counts['due']:,} {words['due']}, {counts['sent']:,} sent before, "
        f"{counts['gone']:,} held by nobody (retention, or labels, which are not sent again)",
        err=json,
    )


def _wanted(
    stage: str | None = None,
    cause: str | None = None,
    topic: str | None = None,
    partition: int | None = None,
    event_id: str | None = None,
    since: str | None = None,
    until: str | None = None,
    places: Sequence[str] = (),
) -> Wanted:
    from guidevane.clock import SystemClock
    from guidevane.commands.letters import Wanted, moment_ms

    now_us = SystemClock().now_us()
    return Wanted(
        stage=stage, cause=cause, topic=topic, partition=partition, event_id=event_id,
        since_ms=moment_ms(since, now_us), until_ms=moment_ms(until, now_us), places=frozenset(places),
    )  # fmt: skip


async def newest(log: Log, name: str, codec: Codec, wanted: Wanted, *, most: int) -> list[dict[str, Any]]:
    """Return the newest dead letters that match, oldest first, as they are shown, and where each was redriven to."""
    from guidevane.commands.letters import find
    from guidevane.commands.records import shown
    from guidevane.runtime.redrive import journal, place_of
    from guidevane.topics import Topics

    letters = await find(log, f"{name}.dlq", wanted)
    last = sorted(letters, key=lambda each: each.timestamp_us)[-most:]
    told = await journal(log, Topics(name))
    sent = {place: each.at for place, each in told.items()}
    return [shown(each, codec) | {"redriven": sent.get(place_of(each))} for each in last]
