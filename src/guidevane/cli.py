# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""The command line: one front door, behind which each command imports what it needs when it is called."""

from __future__ import annotations

import sys

import typer

from guidevane.commands import check, dlq, doctor, drill, new, plan, profile, running, schemas, topics

app = typer.Typer(
    name="guidevane",
    help="Event-driven streaming inference with an end-to-end latency objective.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(running.demo)
app.command()(drill.drill)
app.command()(running.up)
app.command()(running.down)
app.command()(check.check)
app.command()(new.new)
app.command()(doctor.doctor)
app.command()(profile.profile)
app.command()(plan.plan)
app.command()(plan.whatif)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.add_typer(schemas.app, name="schemas")


@app.command()
def version() -> None:
    """Print the version."""
    from guidevane import __version__

    typer.echo(__version__)


def main() -> None:
    """Run the command line; what a person must mend is one message and exit code 2, never a traceback."""
    from guidevane.errors import GuidevaneError

    try:
        app()
    except GuidevaneError as wrong:
        typer.echo(f"guidevane: {wrong}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
