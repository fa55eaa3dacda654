# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane schemas``: what contracts there are, and whether their versions can read each other."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

app = typer.Typer(help="The Avro contracts: list them, show one, check their history.", no_args_is_help=True)


@app.command("check")
def check_history(
    path: Annotated[
        Path | None,
        typer.Argument(help="A folder of <contract>/v<N>/schema.avsc, or one contract's folder. Default: Guidevane's."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="BACKWARD, FORWARD or FULL, each also as <MODE>_TRANSITIVE.")
    ] = "FULL_TRANSITIVE",
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a place, a line each.")] = False,
) -> None:
    """Tell where versions of a contract cannot read each other; exits 1 where there is such a place."""
    import dataclasses

    from guidevane.commands.records import as_json
    from guidevane.compatibility import MODES, check_tree
    from guidevane.schema import SCHEMAS, read_history, read_tree
    from guidevane.word import nearest

    wanted = next((known for known in MODES if known == mode.upper()), None)
    if wanted is None:
        raise typer.BadParameter(f"{mode!r}: {nearest(mode.upper(), MODES)}", param_hint="--mode")
    root = path or SCHEMAS
    problems = check_tree(root, wanted)
    for problem in problems:
        typer.echo(as_json(dataclasses.asdict(problem)) if json else str(problem))
    if problems:
        raise typer.Exit(1)
    if json:
        return
    own = read_history(root)
    histories = [own] if own else list(read_tree(root).values())
    typer.echo(f"{len(histories)} contracts, {sum(map(len, histories))} versions: all are {wanted}")


@app.command("list")
def list_contracts(
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a version, a line each.")] = False,
) -> None:
    """List every contract and version, with the schema id that stands in front of its events."""
    from rich.table import Table

    from guidevane.catalogue import Catalogue
    from guidevane.commands.records import as_json
    from guidevane.commands.table import show_table

    catalogue = Catalogue()
    table = Table("contract", "version", "schema id", "what it is", box=None)
    for name in catalogue.names():
        for schema in catalogue.versions(name):
            doc = str(schema.parsed.get("doc", ""))
            if json:
                typer.echo(as_json({"contract": name, "version": schema.version, "schema_id": schema.id, "doc": doc}))
            else:
                table.add_row(name, f"v{schema.version}", str(schema.id), doc)
    if not json:
        show_table(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The contract, such as decision.")],
    version: Annotated[int | None, typer.Option(help="Its version. Default: the latest.")] = None,
) -> None:
    """Print a contract's Avro schema, as JSON."""
    import json

    from guidevane.catalogue import Catalogue
    from guidevane.schema import SCHEMAS, read

    catalogue = Catalogue()
    schema = catalogue.latest(name) if version is None else catalogue.version(name, version)
    typer.echo(json.dumps(read(SCHEMAS / name / f"v{schema.version}" / "schema.avsc"), indent=2))
