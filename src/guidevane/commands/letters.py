"""Which dead letters a person means, and reading them."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from guidevane.commands.records import read_records
from guidevane.errors import Misconfigured
from guidevane.log import Partition
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.redrive import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guidevane.log import Log, Record

_TOLD = 10
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for; what is ``None`` or empty is not looked at. Times are of death, in milliseconds."""

    stage: str | None = None
    cause: str | None = None
    topic: str | None = None
    partition: int | None = None
    event_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    places: frozenset[str] = frozenset()

    def __call__(self, record: Record) -> bool:
        """Tell whether a dead letter is meant."""
        why = reasons(record)
        died = why.get("timestamp", "")
        died_ms = int(died) if died.isdigit() else record.timestamp_us // 1000
        return (
            self.stage in {None, why.get("stage")}
            and self.cause in {None, why.get("exception.class")}
            and self.topic in {None, why.get("topic")}
            and self.partition in {None, record.partition}
            and (self.event_id is None or record.header("event_id") == self.event_id.encode())
            and (self.since_ms is None or died_ms >= self.since_ms)
            and (self.until_ms is None or died_ms < self.until_ms)
            and (not self.places or place_of(record) in self.places)
        )


def moment_ms(said: str | None, now_us: int) -> int | None:
    """Read a time: ISO 8601 (UTC where no zone is said), or so long ago, such as ``90s``, ``15m``, ``2h``, ``7d``.

    >>> moment_ms("1970-01-01T00:00:02", 0), moment_ms("2s", 5_000_000), moment_ms(None, 0)
    (2000, 3000, None)
    """
    if said is None:
        return None
    if said[:-1].isdecimal() and said[-1] in _UNITS_S:
        return now_us // 1000 - int(said[:-1]) * _UNITS_S[said[-1]] * 1000
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise Misconfigured(f"{said!r} is no time: write 2026-11-22T10:00:00, or 15m, 2h, 7d for so long ago") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


async def find(log: Log, topic: str, wanted: Wanted) -> list[Record]:
    """Return every dead letter that is meant, each partition in its order."""
    async with aclosing(read_records(log, topic, from_start=True, until_end=True)) as records:
        return [record async for record in records if wanted(record)]


def known(letters: Iterable[Record]) -> str:
    """Say which stages and causes there are, the most frequent first: for who named another one.

    >>> known([])
    'there are no dead letters'
    """
    counts = Counter(f"{why.get('stage', '')} {why.get('exception.class', '')}" for why in map(reasons, letters))
    told = ", ".join(f"{of} ({count:,})" for of, count in counts.most_common(_TOLD))
    return f"there are: {told}" if told else "there are no dead letters"


async def named(log: Log, topic: str, wanted: Wanted) -> list[Record]:
    """Return what is meant, as ``find`` does. Raises ``Misconfigured`` for a place where no dead letter lies."""
    for place in sorted(wanted.places):
        await one(log, topic, place)
    return await find(log, topic, wanted)


async def one(log: Log, topic: str, place: str) -> Record:
    """Return the dead letter at ``partition/offset``. Raises ``Misconfigured`` where there is none."""
    number, _, offset = place.partition("/")
    if not (number.isdecimal() and offset.isdecimal()):
        raise Misconfigured(f"{place!r} is no place: write partition/offset, such as 3/42")
    ends = await log.ends(topic)
    if int(number) not in ends:
        raise Misconfigured(f"{topic} has partitions 0 to {max(ends)}, not {number}")
    if int(offset) < ends[int(number)]:
        for record in await log.read(Partition(topic, int(number)), int(offset), int(offset) + 1):
            return record
    raise Misconfigured(f"{topic} has no record at {place}: partition {number} ends at {ends[int(number)]}")
