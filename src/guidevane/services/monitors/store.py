"""What the room keeps on disk: a snapshot now and then, and a journal of what it read since, in the order it read it.

What is remembered of events is not in the snapshot, but on pages that grow meanwhile (``pages``): the snapshot says how
much of them counts, so that it is small, and written in no time, however many events wait for their labels.

Monitors depend on the order in which partitions are read, and Kafka promises none. With the journal a
restart replays exactly what was read, so it says exactly what was said.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from guidevane.errors import Misconfigured
from guidevane.log import Partition
from guidevane.services.monitors.pages import Page, Pages, kept_in, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from guidevane.monitors.remembered import Row

_FORMAT = 2
_log = logging.getLogger(__name__)


class Span(NamedTuple):
    """Records of one partition that were read at once: offsets ``start`` to before ``stop``."""

    partition: Partition
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment: the next offset to read of each input, the end of each output, and what is remembered.

    ``pages``: (page, rows) of the events; they are read with a snapshot, and were written before it.
    """

    positions: Mapping[Partition, int]
    ends: Mapping[Partition, int]
    state: dict[str, Any]
    pages: Sequence[tuple[int, Sequence[Row]]] = ()


class Store:
    """A folder that one process at a time may use.

    A process that is killed loses nothing (what was written is the kernel's); a machine that loses power
    may lose the journal's last seconds: outcomes are then still not repeated, an alert may move by a few events.
    """

    def __init__(self, folder: Path, *, pages: Pages | None = None) -> None:
        self._folder = folder
        self.pages = pages or Pages(folder)
        self._lock: int | None = None
        self._journal: int | None = None
        self._number = 0

    def open(self) -> None:
        """Take the folder, once. Raises ``Misconfigured`` where somebody has it, ``Retryable`` where it is refused."""
        if self._lock is not None:
            return
        with kept_in(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Misconfigured(
                f"another monitors room works in {self._folder}: it runs once per pipeline; stop the other one first"
            ) from None
        self._lock = lock

    def close(self) -> None:
        """Let go of the folder."""
        for held in (self._journal, self._lock):
            if held is not None:
                os.close(held)
        self._journal = self._lock = None
        self.pages.close()

    def load(self) -> tuple[Snapshot | None, list[Span]]:
        """Return the last snapshot, and the spans that were read since, in order.

        Raises ``Misconfigured`` where the snapshot is damaged or of another format, ``Retryable`` where it is refused.
        """
        was = self._number
        with kept_in(self._folder):
            snapshot = self._load_snapshot()
            if self._number != was:
                self._end_journal()
            return snapshot, self._load_journal()

    def note(self, spans: Sequence[Span]) -> None:
        """Write down what was read, before anything that follows from it leaves the room. Raises ``Retryable``."""
        line = orjson.dumps([[*span.partition, span.start, span.stop] for span in spans]) + b"\n"
        with kept_in(self._folder):
            if self._journal is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
                self._journal = os.open(self._journal_path(self._number), flags, 0o600)
            noted_bytes = os.fstat(self._journal).st_size
            try:
                write(self._journal, line)
            except OSError:
                # What is written next must not follow half a line.
                os.ftruncate(self._journal, noted_bytes)
                raise

    def save(self, snapshot: Snapshot) -> None:
        """Replace the snapshot, in one step and durably, and begin a new journal. What pages hold by now counts.

        Raises ``Retryable`` where it cannot be kept: the last one then counts, or this one; ``load`` knows.
        """
        with kept_in(self._folder):
            self._save(snapshot)

    def _save(self, snapshot: Snapshot) -> None:
        following = self._number + 1
        body = orjson.dumps(
            {
                "positions": [[*partition, offset] for partition, offset in snapshot.positions.items()],
                "ends": [[*partition, offset] for partition, offset in snapshot.ends.items()],
                "state": snapshot.state,
                "pages": [tuple(page) for page in self.pages.settle()],
            }
        )
        # A journal of that number can only be left from a save that did not come to its end.
        self._journal_path(following).unlink(missing_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write(handle, _head(body, following) + b"\n" + body)
            os.fsync(handle)
        except OSError:
            # Where there is no room, it must not take any.
            unfinished.unlink()
            raise
        finally:
            os.close(handle)
        # The pages' names first: a snapshot counts on them.
        self._settle_folder()
        unfinished.replace(self._path)
        self._settle_folder()
        self._end_journal()
        self._journal_path(self._number).unlink(missing_ok=True)
        self._number = following
        self.pages.sweep()

    def _end_journal(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    @property
    def _path(self) -> Path:
        return self._folder / "snapshot"

    def _journal_path(self, number: int) -> Path:
        return self._folder / f"journal-{number}.jsonl"

    def _settle_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _load_snapshot(self) -> Snapshot | None:
        try:
            head_line, _, body = self._path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            self._number = 0
            self.pages.load(())
            return None
        if head_line != _head(body, number := _number_in(head_line)):
            raise Misconfigured(
                f"{self._path} is damaged, or of another version: remove {self._folder} and the room "
                "starts over from the beginning of the log"
            )
        self._number = number
        found = orjson.loads(body)
        return Snapshot(
            {Partition(topic, number): offset for topic, number, offset in found["positions"]},
            {Partition(topic, number): offset for topic, number, offset in found["ends"]},
            found["state"],
            self.pages.load([Page(*page) for page in found["pages"]]),
        )

    def _load_journal(self) -> list[Span]:
        lines: list[bytes] = []
        with suppress(FileNotFoundError):
            # What follows the last line's end was being written when the process died: nothing came of it.
            *lines, _ = self._journal_path(self._number).read_bytes().split(b"\n")
        spans: list[Span] = []
        for place, line in enumerate(lines):
            try:
                spans += [
                    Span(Partition(topic, number), start, stop) for topic, number, start, stop in orjson.loads(line)
                ]
            except (ValueError, TypeError) as damaged:
                # As where a machine lost power: what was read from here on is read again in whatever order it comes.
                where = f"{self._journal_path(self._number)}, line {place + 1}"
                _log.warning("%s is damaged (%s): it and what follows it is left out", where, damaged)
                break
        return spans


def _head(body: bytes, journal: int) -> bytes:
    return f"guidevane-monitors-{_FORMAT} {journal} {hashlib.blake2b(body, digest_size=16).hexdigest()}".encode()


def _number_in(head: bytes) -> int:
    words = head.split(b" ")
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
