"""What Kafka holds of a pipeline's events, read whole, and what was seen of its groups' commits."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from guidevane.log import Partition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.log import Log, Record
    from guidevane.topics import Topics

EVENT_ID = "event_id"
"""The header by which an event and its outcomes are known; the load writes it, and so must every room."""
ORIGIN = "gv.origin"
REDRIVE = "gv.redrive.of"


@dataclass(frozen=True, slots=True)
class Commit:
    """One look at a group: its place in a partition of ``topic``, and where what answers that topic stood.

    ``ends`` are the ends of the same partition of the topics that may hold an answer, asked for after
    the place was: so an answer that the commit stands for must lie before them.
    """

    group: str
    topic: str
    partition: int
    offset: int
    ends: Mapping[str, int]


@dataclass(frozen=True)
class Held:
    """Records by topic, each partition in its order, and the commits in the order in which they were seen.

    ``placed`` are all commits, as Kafka has kept them: a look sees some, and a broker that wakes may tell old ones.
    """

    topics: Topics
    records: Mapping[str, Sequence[Record]]
    commits: Sequence[Commit] = ()
    placed: Sequence[Commit] = ()

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """Return where each event lies first on the events topic: partition and offset, by id."""
        found: dict[str, tuple[int, int]] = {}
        for record in self.records[self.topics.events]:
            found.setdefault(id_of(record), (record.partition, record.offset))
        return found

    @cached_property
    def decisions(self) -> dict[str, list[Record]]:
        """Return the decisions of each event, in the order of their partitions."""
        return _by_id(self.records[self.topics.decisions])

    @cached_property
    def letters(self) -> dict[str, list[Record]]:
        """Return the dead letters of each event, in the order of their partitions."""
        return _by_id(self.records[self.topics.dlq])

    @property
    def inside(self) -> tuple[str, ...]:
        """Return the topics between events and decisions."""
        return (self.topics.accepted, self.topics.features, self.topics.predictions)


def id_of(record: Record) -> str:
    """Return the id of the event that a record is, or is about; empty where it does not say."""
    return (record.header(EVENT_ID) or b"").decode(errors="replace")


def origin_of(record: Record) -> int | None:
    """Return the offset, on the events topic, of the event that a record is about."""
    written = record.header(ORIGIN)
    return int(written) if written is not None and written.isdigit() else None


def hot_topics(topics: Topics) -> tuple[str, ...]:
    """Return the topics that an event passes, in order, and the dead letters."""
    return (topics.events, topics.accepted, topics.features, topics.predictions, topics.decisions, topics.dlq)


async def held_of(
    log: Log,
    topics: Topics,
    *,
    since: Mapping[str, Mapping[int, int]] | None = None,
    commits: Sequence[Commit] = (),
    placed: Sequence[Commit] = (),
) -> Held:
    """Read everything from ``since`` (by topic and partition; default: the start) to the end as it is now."""
    records: dict[str, list[Record]] = {}
    for topic in hot_topics(topics):
        began = (since or {}).get(topic, {})
        records[topic] = []
        for number, end in sorted((await log.ends(topic)).items()):
            start = began.get(number, 0)
            if start < end:
                records[topic].extend(await log.read(Partition(topic, number), start, end))
    return Held(topics, records, commits, placed)


def _by_id(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[id_of(record)].append(record)
    return dict(found)
