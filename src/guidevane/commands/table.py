"""Tables for people: nothing in them is cut, wherever they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement

if TYPE_CHECKING:
    from rich.table import Table

_WIDEST = 1 << 20


def show_table(table: Table) -> None:
    """Print a table: as wide as the terminal, long words folded; into a pipe or a file, each line as long as it is."""
    for column in table.columns:
        # By default what is too long for its column ends in an ellipsis, and cannot be copied.
        column.overflow = "fold"
    console = Console()
    if not console.is_terminal:
        whole = Measurement.get(console, console.options.update(width=_WIDEST), table)
        console = Console(width=whole.maximum)
    console.print(table)
