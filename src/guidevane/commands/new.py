"""``guidevane new``: a small pipeline that works, to be changed into one's own."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from guidevane.commands.results import write
from guidevane.errors import Misconfigured

_TEMPLATES = Path(__file__).with_name("templates")
_FILES = {
    "__init__.py": "__init__.py.txt",
    "pipeline.py": "pipeline.py.txt",
    "members.py": "members.py.txt",
    "README.md": "README.md.txt",
    "tests/test_pipeline.py": "test_pipeline.py.txt",
}


def new(
    name: Annotated[str, typer.Argument(help="The pipeline's name: lower case, digits, underscores.")],
    into: Annotated[Path, typer.Option(help="The folder that shall hold it.")] = Path(),
) -> None:
    """Write a small pipeline that works into a folder NAME: contract, features, two members, a test."""
    folder = write_pipeline(name, into)
    typer.echo(f"{folder}: {', '.join(_FILES)}")
    typer.echo(f"Next: guidevane check {name}; pytest {name}; guidevane up {name}")


def write_pipeline(name: str, into: Path) -> Path:
    """Write the files and return their folder. Raises ``Misconfigured`` for a name that cannot be had."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) or keyword.iskeyword(name):
        raise Misconfigured(f"{name!r} cannot be imported: use lower case letters, digits and underscores")
    folder = into / name
    if folder.exists():
        raise Misconfigured(f"{folder} is there already: choose another name, or remove it")
    if importlib.util.find_spec(name) is not None:
        raise Misconfigured(f"there is a Python module {name!r} already: choose another name")
    for path, template in _FILES.items():
        write(folder / path, (_TEMPLATES / template).read_text().replace("NAME", name))
    # With this file, pytest finds the pipeline from any folder that it is started in.
    write(folder / "tests" / "__init__.py", "")
    return folder
