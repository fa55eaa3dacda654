"""What a person sees while something takes long: one line for each part, with a bar where its end is known."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console


class Bars:
    """A line per part, made when it is first spoken of; ``tell`` may be called from any thread.

    What is told reads ``part: what it does``; a share of 1 finishes the part.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.fields[part]:<11}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
        )
        self._lines: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def tell(self, doing: str, share: float | None) -> None:
        """Show what is under way, and how much of it is done (0-1) where that is known."""
        part, _, what = doing.partition(": ")
        with self._lock:
            if part not in self._lines:
                self._lines[part] = self._progress.add_task(what, total=None, part=part)
            total, completed = (None, 0.0) if share is None else (1.0, share)
            self._progress.update(self._lines[part], description=what[:60], total=total, completed=completed)
        if not self._console.is_terminal and (share is None or share >= 1.0):
            # Without a terminal there is no line to redraw: a log shows each step once.
            self._console.print(f"{part}: {what}", highlight=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the lines as they are."""
        self._progress.stop()
