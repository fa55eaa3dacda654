"""Reading outcomes: each event's first one, whatever a zombie wrote behind it.

In the effective mode a process that was taken for dead may write outcomes behind its successor's. The
first outcome of an event in its partition counts, so a reader needs to know which events it has had
outcomes of, and may not remember them all. Origins (header ``gv.origin``: the event's offset in the
pipeline's first topic) make a window enough, the way a receiver of IPsec packets tells replays
(RFC 6479): one mark for each of the newest ``window`` origins, and everything older counts as had.

Why that loses nothing is in ``docs/read-effective.md``, with the same in Java.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from guidevane.errors import Misconfigured

ORIGIN = "gv.origin"
"""The header with the event's offset in the pipeline's first topic: with the partition, the event's name everywhere."""

WINDOW = 65_536
"""Eight times what one process has in flight (8,192 records): so many may be zombies of one partition at once."""

STAGE = "__dlq.errors.stage"
"""The header that says which stage gave an event up: letters are in order stage by stage, not between stages."""

R = TypeVar("R")


@dataclass(slots=True)
class _Window:
    newest: int
    seen: bytearray

    def first(self, origin: int) -> bool:
        size = len(self.seen)
        if origin > self.newest:
            skipped = min(origin - self.newest - 1, size)
            for between in range(origin - skipped, origin):
                self.seen[between % size] = 0
            self.newest = origin
        elif origin <= self.newest - size or self.seen[origin % size]:
            return False
        self.seen[origin % size] = 1
        return True

    def has(self, origin: int) -> bool:
        size = len(self.seen)
        return self.newest - size < origin <= self.newest and bool(self.seen[origin % size])


@dataclass(slots=True)
class FirstOutcomes:
    """Which events had an outcome: at most ``window`` bytes a partition and stage, however long the reading goes on.

    On the dead-letter topic several stages write, and where each is a room of its own, one may be any number of
    events behind another: each has a window of its own there, and what one has answered, none answers again.

    >>> outcomes = FirstOutcomes()
    >>> [outcomes.first("p.decisions", 0, origin) for origin in (0, 1, 3, 1, 2, 3, 4)]
    [True, True, True, False, True, False, True]
    """

    window: int = WINDOW
    _windows: dict[tuple[str, int], dict[str, _Window]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise Misconfigured(f"a window of {self.window} origins remembers nothing: give at least 1")

    def first(self, topic: str, partition: int, origin: int, stage: str = "") -> bool:
        """Say whether this is the first outcome of the event, and remember that it had one.

        ``stage`` is who wrote it, where that is not the same for all of the topic: a letter's ``STAGE``.
        """
        lanes = self._windows.setdefault((topic, partition), {})
        held = lanes.get(stage)
        if held is None:
            held = lanes[stage] = _Window(-1, bytearray(self.window))
        if len(lanes) > 1 and any(each.has(origin) for each in lanes.values() if each is not held):
            return False
        return held.first(origin)

    def state(self) -> dict[str, Any]:
        """Return what is remembered, as JSON can hold it: to be kept with the offsets, and given to ``restored``."""
        return {
            "window": self.window,
            "partitions": [
                [topic, partition, held.newest, base64.b85encode(_packed(held.seen)).decode(), stage]
                for (topic, partition), lanes in self._windows.items()
                for stage, held in lanes.items()
            ],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> FirstOutcomes:
        """Return what was remembered, so that a reader goes on behind its offsets as if it had never stopped."""
        outcomes = cls(state["window"])
        for topic, partition, newest, packed, *stage in state["partitions"]:
            seen = _unpacked(base64.b85decode(packed), outcomes.window)
            lanes = outcomes._windows.setdefault((topic, partition), {})
            # Versions that did not tell stages apart kept none.
            lanes[stage[0] if stage else ""] = _Window(newest, seen)
        return outcomes


@overload
def read_effective(records: AsyncIterable[R], *, outcomes: FirstOutcomes | None = None) -> AsyncIterator[R]: ...
@overload
def read_effective(records: Iterable[R], *, outcomes: FirstOutcomes | None = None) -> Iterator[R]: ...
def read_effective(
    records: AsyncIterable[R] | Iterable[R], *, outcomes: FirstOutcomes | None = None
) -> AsyncIterator[R] | Iterator[R]:
    """Yield the records that count: of each event the first outcome in its partition.

    Args:
        records: From one or more topics of outcomes (decisions, predictions, dead letters, ...), in each partition's
            order: an aiokafka or kafka-python consumer, or any iterable of records with ``topic``, ``partition`` and
            ``headers`` (confluent-kafka's messages, whose names are methods, do too). Read committed records
            (``isolation_level="read_committed"``), and from the start, or on from where ``outcomes`` was kept.
        outcomes: What was remembered before, if the reading goes on; by default, nothing.

    A record that carries no origin is nobody's outcome and is passed on as it is. In the transactional mode there
    is no second outcome to leave out, and this changes nothing.

    >>> from guidevane.log import Record
    >>> decided = [Record("p.decisions", 0, i, None, b"", ((ORIGIN, b"%d" % o),)) for i, o in enumerate((0, 1, 0, 2))]
    >>> [record.offset for record in read_effective(decided)]
    [0, 1, 3]
    """
    held = outcomes if outcomes is not None else FirstOutcomes()
    if isinstance(records, AsyncIterable):
        return _read_async(records, held)
    return (record for record in records if _counts(record, held))


async def _read_async(records: AsyncIterable[R], outcomes: FirstOutcomes) -> AsyncIterator[R]:
    async for record in records:
        if _counts(record, outcomes):
            yield record


def _counts(record: Any, outcomes: FirstOutcomes) -> bool:
    headers = _of(record, "headers")
    origin = origin_in(headers)
    if origin is None:
        return True
    return outcomes.first(_of(record, "topic"), _of(record, "partition"), origin, _stage_in(headers))


def _of(record: Any, name: str) -> Any:
    held = getattr(record, name)
    return held() if callable(held) else held


def origin_in(headers: Iterable[tuple[str, bytes | None]] | None) -> int | None:
    """Return the origin that headers carry: the last one counts, as with Kafka's clients.

    >>> origin_in((("gv.origin", b"7"), ("gv.origin", b"8"))), origin_in([("gv.origin", b"soon")]), origin_in(None)
    (8, None, None)
    """
    written = None
    for name, value in headers or ():
        if name == ORIGIN:
            written = value
    return int(written) if written is not None and written.isdigit() and len(written) <= _DIGITS else None


def _stage_in(headers: Iterable[tuple[str, bytes | None]]) -> str:
    written = None
    for name, value in headers:
        if name == STAGE:
            written = value
    return "" if written is None else written.decode(errors="replace")


_DIGITS = 18
"""What a signed 64-bit offset holds for certain."""


def _packed(seen: bytearray) -> bytes:
    r"""Return eight marks a byte.

    >>> _packed(bytearray([1, 0, 1])).hex(), list(_unpacked(b"\x05", 3))
    ('05', [1, 0, 1])
    """
    return bytes(
        sum(mark << place for place, mark in enumerate(seen[start : start + 8])) for start in range(0, len(seen), 8)
    )


def _unpacked(packed: bytes, size: int) -> bytearray:
    return bytearray(packed[place // 8] >> place % 8 & 1 for place in range(size))
