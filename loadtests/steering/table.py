"""Scores as a table, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtests.steering.scores import Score

COLUMNS = ("policy", "miss", "late", "shed", "$", "replica-s", "× oracle", "actions", "p50 ms", "p99 ms")


def row(name: str, score: Score) -> tuple[str, ...]:
    """Return one policy's line; a cost that broke the objective stands in brackets: it is no win."""
    ratio = "–" if score.oracle_ratio is None else f"{score.oracle_ratio:.2f}"
    return (
        name, f"{100 * score.miss:.2f} %", str(score.late), str(score.shed), f"{score.cost_usd:.3f}",
        f"{score.replica_seconds:.0f}", ratio if score.kept else f"({ratio})", str(score.actions),
        *("–" if each is None else f"{each:.0f}" for each in (score.p50_ms, score.p99_ms)),
    )  # fmt: skip


def table(scores: Mapping[str, Score], *, title: str) -> Table:
    """Return a table for the terminal."""
    # A file's name is no markup.
    made = Table(*COLUMNS, title=Text(title))
    for name, score in scores.items():
        made.add_row(*row(name, score))
    return made
