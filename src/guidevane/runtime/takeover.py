"""Taking a partition over: reading one's own outputs, so that nothing is answered twice.

A crash between an output and its commit leaves events that are answered but not committed. The
new owner reads outputs and dead letters from where the commit's note says, and remembers which
origins they answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.errors import Retryable
from guidevane.log import Partition, Record
from guidevane.runtime.deadletter import STAGE
from guidevane.runtime.places import Place
from guidevane.runtime.stage import origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.log import Committed, Log
    from guidevane.runtime.stage import Stage

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Answered:
    """What one stage has answered beyond the commit, by origin."""

    outputs: dict[int, Record] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)

    def __contains__(self, origin: int) -> bool:
        return origin in self.outputs or origin in self.dead

    def __bool__(self) -> bool:
        return bool(self.outputs or self.dead)

    @property
    def origins(self) -> set[int]:
        """Return the origins of all."""
        return self.outputs.keys() | self.dead


@dataclass(slots=True)
class Ownership:
    """One partition of the worker's input, as its owner knows it; ``next`` is the offset to handle next."""

    place: Place
    next: int
    answered: list[Answered]


async def take_over(
    log: Log, stages: Sequence[Stage], dlq: str, partitions: Mapping[Partition, Committed | None]
) -> dict[Partition, Ownership]:
    """Return what the outputs say about each partition, and let the stages recall theirs."""
    memories = [stage.memory for stage in stages if stage.memory is not None]
    source = stages[0]
    topics = {source.input, *(stage.output for stage in stages), *(memory.topic for memory in memories), dlq}
    ends = {topic: await log.ends(topic) for topic in topics}
    starts = await log.starts(source.input)
    await _tell_of_lost_places(log, stages, [each for each, committed in partitions.items() if committed is None])
    owned: dict[Partition, Ownership] = {}
    for partition, committed in partitions.items():
        number = partition.number
        place, end = Place.of(committed), ends[source.input].get(number, 0)
        if place.offset > end:
            raise shrunk(partition, end, place.offset)
        if committed is not None and (kept := starts.get(number, 0)) > place.offset:
            _log.error(
                "%s/%d begins at offset %d, and nobody has answered what came from %d on: %d records at most were "
                "deleted unanswered → give the topic a retention longer than the pipeline may be down, or behind",
                partition.topic, number, kept, place.offset, kept - place.offset,
            )  # fmt: skip
        _forget_what_is_gone(partition, place, ends)
        letters = await _since(log, Partition(dlq, number), place.outputs.get(dlq, 0), ends[dlq])
        owned[partition] = Ownership(place, place.offset, [])
        for memory in memories:
            memory.restore(number, await _since(log, Partition(memory.topic, number), 0, ends[memory.topic]))
        for stage in stages:
            start = place.outputs.get(stage.output, 0)
            written = await _recalled(
                log, Partition(stage.output, number), start, ends[stage.output], stage.recall_records
            )
            if stage.recall is not None:
                stage.recall(number, written[-stage.recall_records :] if stage.recall_records else written)
            owned[partition].answered.append(
                Answered(
                    # The first answer counts: a zombie's second one is never looked at.
                    {
                        origin: record._replace(origin=origin)
                        for record in reversed(written)
                        if record.offset >= start and (origin := origin_of(record, first=False)) is not None
                    },
                    {
                        origin
                        for letter in letters
                        if letter.header(STAGE) == stage.name.encode()
                        and (origin := origin_of(letter, first=False)) is not None
                    },
                )
            )
        if source.first:
            last = max((origin for answered in owned[partition].answered for origin in answered.origins), default=-1)
            if last >= end:
                raise shrunk(partition, end, last + 1)
    return owned


async def _tell_of_lost_places(log: Log, stages: Sequence[Stage], partitions: Sequence[Partition]) -> None:
    """Say so where nothing tells any more what was answered: neither a place, nor all that was ever written."""
    if not partitions:
        return
    for stage in stages:
        starts = await log.starts(stage.output)
        if cut := sorted(each.number for each in partitions if starts.get(each.number, 0)):
            _log.error(
                "the group has no place in partitions %s of %s, and the oldest records of %s are gone: events that "
                "were answered there are answered again. Kafka forgets the places of a group that nobody was in for "
                "offsets.retention.minutes → keep events no longer than their answers",
                cut, stages[0].input, stage.output,
            )  # fmt: skip


def _forget_what_is_gone(partition: Partition, place: Place, ends: Mapping[str, Mapping[int, int]]) -> None:
    """Forget how far an output had got that ends before that: looked for behind it, no new answer would be found."""
    for topic, noted in list(place.outputs.items()):
        if topic in ends and (end := ends[topic].get(partition.number, 0)) < noted:
            _log.warning(
                "%s/%d ends at %d, and answers were written to it up to %d: it was made anew, or has lost its end. "
                "Of what was answered since offset %d of %s, that which is not there is answered again",
                topic, partition.number, end, noted, place.offset, partition.topic,
            )  # fmt: skip
            del place.outputs[topic]


def shrunk(partition: Partition, end: int, answered: int) -> Retryable:
    """Return what is wrong where a partition ends before what was answered of it: it is not the one that it was.

    An event is known by its place, on every topic. One that comes to a place whose event was answered would pass for
    answered, and be lost without a word.
    """
    return Retryable(
        f"{partition.topic}/{partition.number} ends at {end}, and everything before {answered} was answered: the topic "
        f"was made anew, or has lost its end. Nothing of it is read, for new events would pass for answered ones "
        f"→ delete every topic of the pipeline and its groups, and start it again"
    )


async def _since(log: Log, partition: Partition, start: int, ends: Mapping[int, int]) -> Sequence[Record]:
    end = ends.get(partition.number, 0)
    return await log.read(partition, start, end) if start < end else []


async def _recalled(
    log: Log, partition: Partition, start: int, ends: Mapping[int, int], count: int
) -> Sequence[Record]:
    """Return what stands from ``start`` on, and before it until there are ``count`` records, if there are so many.

    Offsets do not count records: transactions and compaction leave gaps.
    """
    span = count
    while True:
        keep = max(0, start - span)
        written = await _since(log, partition, keep, ends)
        if keep == 0 or len(written) >= count:
            return written
        span *= 2
