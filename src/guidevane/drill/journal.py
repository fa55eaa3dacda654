"""The ledger on disk: one line of JSON for each event that Kafka acknowledged, in a file that no room knows of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import orjson

from guidevane.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from guidevane.ledger import Entry


class Journal:
    """Appends what was acknowledged; a context manager. Each batch is on the disk when ``note`` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")

    def note(self, acknowledged: Iterable[tuple[str, Entry]]) -> None:
        """Write a batch down."""
        for event_id, entry in acknowledged:
            row = {
                "id": event_id,
                "key": entry.key.decode(errors="replace") if entry.key is not None else None,
                "partition": entry.partition,
                "offset": entry.offset,
                "due_us": entry.due_us,
                "expects": entry.expects,
            }
            self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(path: Path) -> Ledger:
    """Return the ledger that a file holds, to judge it again; what was never acknowledged is not in it."""
    ledger = Ledger()
    for line in path.read_bytes().splitlines():
        row = orjson.loads(line)
        key = row["key"].encode() if row["key"] is not None else None
        ledger.sent(row["id"], due_us=row["due_us"], key=key, expects=row["expects"])
        ledger.acknowledged(row["id"], row["partition"], row["offset"])
    return ledger
