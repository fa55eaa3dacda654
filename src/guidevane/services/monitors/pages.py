"""Rows on disk, in files that are only ever added to: what is remembered of events is written once, a little at a time.

A page whose rows are all of the past is given up. That happens by itself where events leave in the order in which they
came; where some stay for long, they are written anew once more than half of all rows are of the past.
"""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from guidevane.errors import Misconfigured, Retryable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from guidevane.monitors.remembered import Remembered, Row

AT_ONCE: Final = 1024
"""Rows that are written in one go: some milliseconds, in which nothing else runs."""
_ROWS_EACH: Final = 8192
_SPARE: Final = 4
"""Pages that may hold nothing but the past before anything is written anew."""


class Page(NamedTuple):
    """What counts of a page's file: its first ``size_bytes``, with this checksum. What follows was never agreed to."""

    number: int
    size_bytes: int
    crc: int
    rows: int


@dataclass(slots=True)
class _Open:
    size_bytes: int = 0
    crc: int = 0
    rows: int = 0


class Pages:
    """The pages of one folder. Nothing that is written counts before :meth:`settle` is in a snapshot."""

    def __init__(self, folder: Path, *, rows_each: int = _ROWS_EACH) -> None:
        self._folder = folder
        self._rows_each = rows_each
        # In their order; the last one is written to.
        self._pages: dict[int, _Open] = {}
        self._rows = 0
        self._next = 0
        self._unsynced: dict[int, int] = {}

    def write(self, remembered: Remembered) -> Iterator[None]:
        """Write what is another, and give up what is of the past; one slice of it each time it is asked for more."""
        while rows := remembered.rows(self._current(), AT_ONCE):
            with kept_in(self._folder):
                self._add(rows)
            yield
            self._give_up(remembered)

    def _current(self) -> int:
        if not self._pages or self._pages[self._next - 1].rows >= self._rows_each:
            self._pages[self._next] = _Open()
            self._next += 1
        return self._next - 1

    def _add(self, rows: Sequence[Any]) -> None:
        number = self._next - 1
        handle = self._unsynced.get(number)
        if handle is None:
            handle = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._unsynced[number] = handle
        line = orjson.dumps(rows) + b"\n"
        write(handle, line)
        page = self._pages[number]
        page.size_bytes += len(line)
        page.crc = zlib.crc32(line, page.crc)
        page.rows += len(rows)
        self._rows += len(rows)

    def _give_up(self, remembered: Remembered) -> None:
        while len(self._pages) > 1:
            oldest = next(iter(self._pages))
            if remembered.standing(oldest):
                if self._rows <= 2 * len(remembered) + _SPARE * self._rows_each:
                    return
                remembered.lift(oldest)
            self._rows -= self._pages.pop(oldest).rows
            if (handle := self._unsynced.pop(oldest, None)) is not None:
                os.close(handle)

    def settle(self) -> list[Page]:
        """Make sure that what was written is on the disk, and return what counts of it now."""
        for handle in self._unsynced.values():
            os.fsync(handle)
        self._let_go()
        return [Page(number, page.size_bytes, page.crc, page.rows) for number, page in self._pages.items()]

    def sweep(self) -> None:
        """Remove the files of pages that no longer count: what :meth:`settle` returned is in a snapshot now."""
        for path in self._folder.glob("page-*"):
            if path.name not in {self._path(number).name for number in self._pages}:
                path.unlink(missing_ok=True)

    def load(self, counted: Sequence[Page]) -> list[tuple[int, list[Row]]]:
        """Return what stands on the pages that count, and forget all that is there beside it.

        Raises ``Misconfigured`` where a page is not what it was.
        """
        self._let_go()
        found = [(page.number, self._read(page)) for page in counted]
        self._pages = {page.number: _Open(page.size_bytes, page.crc, page.rows) for page in counted}
        self._rows = sum(page.rows for page in counted)
        self._next = counted[-1].number + 1 if counted else 0
        self.sweep()
        return found

    def close(self) -> None:
        """Let go of the files."""
        self._let_go()

    def _read(self, page: Page) -> list[Row]:
        path = self._path(page.number)
        try:
            with path.open("rb+") as file:
                body = file.read(page.size_bytes)
                file.truncate(len(body))
        except FileNotFoundError:
            body = b""
        if len(body) != page.size_bytes or zlib.crc32(body) != page.crc:
            raise Misconfigured(
                f"{path} is damaged: remove {self._folder} and the room starts over from the beginning of the log"
            )
        return [row for line in body.split(b"\n")[:-1] for row in orjson.loads(line)]

    def _let_go(self) -> None:
        for handle in self._unsynced.values():
            os.close(handle)
        self._unsynced = {}

    def _path(self, number: int) -> Path:
        return self._folder / f"page-{number}"


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Raise ``Retryable``, with the way out, where the file system refuses: what is full may be mended meanwhile."""
    try:
        yield
    except OSError as refused:
        raise Retryable(
            f"the monitors' state in {folder} cannot be kept: {refused.strerror} → make room there, make it writable, "
            "or move the state folder (GUIDEVANE_STATE_DIR)"
        ) from refused


def write(handle: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
