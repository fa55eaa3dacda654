"""The audit log as a chain: each row carries the SHA-256 of the one before, so that no row can be changed unseen.

The topic has several writers (the controller, people through the admin room) and Kafka has no
compare-and-append, so two of them may continue the same row. The order of the log then decides:
the first continues the chain, the second *lost a race*, counts for nothing, and its writer, who
reads the topic back, writes it again. A lost row is told from a forged one: it is whole, and
continues a row that was once the last.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Literal, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guidevane.events import Audit

NOTHING_BEFORE = "0" * 64

Link = Literal["continues", "lost", "broken"]
_Row = dict[str, object]


def next_row(
    previous: Audit | None,
    *,
    at_us: int,
    actor: str,
    action: str,
    object: str,  # noqa: A002 - the name of the field in the contract
    reason: str,
    detail: Mapping[str, object] | str = "",
) -> Audit:
    """Return the row that continues the chain behind ``previous`` (``None``: the first row of all).

    ``detail`` is JSON: a mapping is written as canonical JSON, a string is taken as it is.

    >>> first = next_row(None, at_us=1, actor="ada", action="pause", object="controller", reason="roll-out")
    >>> second = next_row(first, at_us=2, actor="ada", action="resume", object="controller", reason="done")
    >>> second["sequence"], second["previous"] == first["hash"]
    (1, True)
    """
    row: _Row = {
        "sequence": 0 if previous is None else previous["sequence"] + 1,
        "at_us": at_us,
        "actor": actor,
        "action": action,
        "object": object,
        "reason": reason,
        "detail": detail if isinstance(detail, str) else canonical(detail).decode(),
        "previous": NOTHING_BEFORE if previous is None else previous["hash"],
    }
    return cast("Audit", {**row, "hash": hash_of(row)})


def hash_of(row: Mapping[str, object]) -> str:
    """Return the SHA-256 (hex) of a row's canonical JSON, its own ``hash`` left out."""
    return hashlib.sha256(canonical({name: value for name, value in row.items() if name != "hash"})).hexdigest()


def canonical(value: Mapping[str, object]) -> bytes:
    """Return JSON that is the same for equal values: keys sorted, no spaces, UTF-8.

    >>> canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
    True
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class Chain:
    """The chain as far as it was read; ``last`` is the row to continue.

    A chain may be followed from the middle (old rows are gone, or were not read): the first row
    that is seen is taken as it is.

    >>> chain, first = Chain(), next_row(None, at_us=1, actor="a", action="pause", object="o", reason="r")
    >>> chain.follow(first), chain.follow(first)
    ('continues', 'lost')
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        self.last: Audit | None = None
        # A race is lost by moments: a row that continues an older one than these is a forgery.
        self._once_last: deque[str] = deque(maxlen=1024)

    def follow(self, row: Audit) -> Link:
        """Take the next row of the topic; tell whether it continues the chain, lost a race, or breaks it."""
        if hash_of(cast("Mapping[str, object]", row)) != row["hash"]:
            return "broken"
        last = self.last
        if last is None or (row["previous"] == last["hash"] and row["sequence"] == last["sequence"] + 1):
            self.last = row
            self._once_last.extend((row["previous"], row["hash"]))
            return "continues"
        return "lost" if row["previous"] in self._once_last else "broken"


def verify(rows: Iterable[Audit]) -> int | None:
    """Return the index of the first row that breaks the chain, or ``None`` where it is whole.

    The last row can be cut off unseen: only a hash kept elsewhere could tell.

    >>> first = next_row(None, at_us=1, actor="ada", action="pause", object="controller", reason="roll-out")
    >>> verify([first]), verify([{**first, "actor": "eve"}])
    (None, 0)
    """
    chain = Chain()
    return next((index for index, row in enumerate(rows) if chain.follow(row) == "broken"), None)
