"""Sending dead letters again, once each: whole, as they first came, into the pipeline's first topic.

A journal (``<p>.redrives``, compacted) is written before and after each send. Whoever finds a letter marked as being
sent (a crash lay between) looks on the events topic whether it is there. Decision 0006 says what the event's outcome
is then.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import orjson

from guidevane.errors import Misconfigured, TooLarge
from guidevane.log import Headers, Message, Partition, Record
from guidevane.runtime.deadletter import LEFT_OUT, PREFIX, reasons
from guidevane.runtime.stage import ORIGIN, REDRIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from guidevane.log import Log, Producer
    from guidevane.topics import Topics

ROOT = "gv.redrive.root"
"""Where an event lay on the events topic when it first came: an id that is derived from the place stays the same."""
_log = logging.getLogger(__name__)
_FIRST_ADDED = PREFIX + "topic"
_AT_ONCE = 200
_LARGE_BYTES = 64 << 10
_SEEN_AT_ONCE = 2_000

State = Literal["due", "sent", "gone"]


class Sent(NamedTuple):
    """What the journal says of a letter: ``at`` is where it lies now, or it was to be sent behind ``after``."""

    at: str | None
    after: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What is to become of one letter. ``gone``: the event has left its topic, and the letter does not hold it."""

    letter: Record
    state: State
    at: str | None = None
    message: Message | None = None
    noted: bool = True


def place_of(record: Record) -> str:
    """Return a record's place, as people write it: ``partition/offset``."""
    return f"{record.partition}/{record.offset}"


async def journal(log: Log, topics: Topics) -> dict[str, Sent]:
    """Return what was redriven, or was about to be, by the letter's place."""
    found: dict[str, Sent] = {}
    try:
        end = (await log.ends(topics.redrives)).get(0, 0)
    except Misconfigured:
        # Set up by a version that knew no redrives.
        return found
    if end:
        for record in await log.read(Partition(topics.redrives, 0), 0):
            try:
                said = orjson.loads(record.value or b"{}")
                found[(record.key or b"").decode()] = Sent(said.get("at"), said.get("after", 0))
            except (ValueError, AttributeError) as strange:
                # None of ours wrote it, and the topic keeps it for ever.
                _log.warning("%s at offset %d is no note of a redrive: %s", topics.redrives, record.offset, strange)
    return found


async def plan(log: Log, topics: Topics, letters: Sequence[Record]) -> list[Step]:
    """Return what redriving these letters would do; sends nothing, and settles what a crash left open."""
    told = await journal(log, topics)
    ends = await log.ends(topics.events)
    unsure = [letter for letter in letters if (sent := told.get(place_of(letter))) is not None and sent.at is None]
    landed = await _landed(log, topics, {place_of(each): told[place_of(each)].after for each in unsure}, ends)
    steps = []
    for letter in sorted(letters, key=lambda each: (each.partition, each.offset)):
        sent = told.get(place_of(letter))
        at = landed.get(place_of(letter)) or (sent.at if sent is not None else None)
        message = await _restored(log, topics, letter, ends) if at is None else None
        state: State = "sent" if at is not None else "due" if message is not None else "gone"
        steps.append(Step(letter, state, at, message, noted=place_of(letter) not in landed))
    return steps


async def redrive(log: Log, topics: Topics, steps: Sequence[Step], tell: Callable[[int], None] = lambda _: None) -> int:
    """Send every step that is due; return how many were sent. ``tell`` is told of each so many that are done.

    Raises ``Misconfigured`` behind all others where the events topic does not take some for their size.
    """
    due: dict[int, list[Step]] = defaultdict(list)
    for step in steps:
        if step.state == "due":
            due[step.letter.partition].append(step)
    producer = await log.producer(name="guidevane-redrive")
    done = 0
    large: list[str] = []
    try:
        open_ = {place_of(step.letter): Sent(step.at) for step in steps if step.at is not None and not step.noted}
        if open_:
            await _note(producer, topics, open_)
        for number, waiting in due.items():
            for some in _batches(waiting):
                after = (await log.ends(topics.events))[number]
                await _note(producer, topics, {place_of(step.letter): Sent(None, after) for step in some})
                try:
                    first = await producer.send(
                        topics.events, number, [s.message for s in some if s.message is not None]
                    )
                except TooLarge:
                    if len(some) > 1:
                        raise
                    # It was compressed otherwise when it came. Its producer is of no use any more.
                    large.append(place_of(some[0].letter))
                    await producer.close()
                    producer = await log.producer(name="guidevane-redrive")
                    continue
                where = {place_of(step.letter): Sent(f"{number}/{first + i}") for i, step in enumerate(some)}
                await _note(producer, topics, where)
                done += len(some)
                tell(len(some))
    finally:
        await producer.close()
    if large:
        raise Misconfigured(
            f"{done} sent, but {topics.events} takes nothing as large as {', '.join(large)} → raise its "
            "max.message.bytes, or set KAFKA_COMPRESSION_TYPE to what the producer uses"
        )
    return done


def _batches(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield the steps in their order, some at once; what may be too large alone, so that it is known which it is."""
    some: list[Step] = []
    for step in steps:
        large = step.message is not None and step.message.size_bytes > _LARGE_BYTES
        if some and (large or len(some) == _AT_ONCE):
            yield some
            some = []
        some.append(step)
        if large:
            yield some
            some = []
    if some:
        yield some


async def withdrawn(log: Log, topics: Topics, records: Sequence[Record]) -> dict[str, Record]:
    """Return the letters that records on the events topic claim to redrive, by place; what is not there is left out."""
    wanted: dict[int, set[int]] = defaultdict(set)
    for record in records:
        part, _, offset = (record.header(REDRIVE) or b"").decode(errors="replace").partition("/")
        # A letter lies on the partition of its event.
        if part == str(record.partition) and offset.isdecimal():
            wanted[record.partition].add(int(offset))
    found: dict[str, Record] = {}
    ends = await log.ends(topics.dlq) if wanted else {}
    for number, offsets in wanted.items():
        there = sorted(offset for offset in offsets if offset < ends.get(number, 0))
        while there:
            reach = [offset for offset in there if offset < there[0] + _SEEN_AT_ONCE]
            for letter in await log.read(Partition(topics.dlq, number), reach[0], reach[-1] + 1):
                if letter.offset in offsets:
                    found[place_of(letter)] = letter
            there = there[len(reach) :]
    return found


async def _note(producer: Producer, topics: Topics, sent: Mapping[str, Sent]) -> None:
    rows = [Message(place.encode(), orjson.dumps({"at": each.at, "after": each.after})) for place, each in sent.items()]
    await producer.send(topics.redrives, 0, rows)


async def _landed(log: Log, topics: Topics, unsure: Mapping[str, int], ends: Mapping[int, int]) -> dict[str, str]:
    """Return where the letters lie whose sending was begun, of those that were sent."""
    first: dict[int, int] = {}
    for place, after in unsure.items():
        part = int(place.partition("/")[0])
        first[part] = min(after, first.get(part, after))
    found: dict[str, str] = {}
    for number, start in first.items():
        if start < ends[number]:
            for record in await log.read(Partition(topics.events, number), start, ends[number]):
                claimed = (record.header(REDRIVE) or b"").decode(errors="replace")
                if claimed in unsure:
                    found.setdefault(claimed, place_of(record))
    return found


async def _restored(log: Log, topics: Topics, letter: Record, ends: Mapping[int, int]) -> Message | None:
    """Return the event as it first came; ``None`` where nobody holds it any more."""
    why = reasons(letter)
    origin = letter.header(ORIGIN)
    if origin is None or not origin.isdigit():
        return None
    offset = int(origin)
    if why.get("topic") == topics.events and letter.header(LEFT_OUT) is None:
        added = max(i for i, (name, _) in enumerate(letter.headers) if name == _FIRST_ADDED)
        key, value, headers = letter.key, letter.value, letter.headers[:added]
    else:
        if offset >= ends.get(letter.partition, 0):
            return None
        found = await log.read(Partition(topics.events, letter.partition), offset, offset + 1)
        if not found:
            return None
        key, value, headers = found[0].key, found[0].value, found[0].headers
    root = f"{letter.partition}/{offset}".encode()
    if len(headers) >= len(_OURS) and tuple(name for name, _ in headers[-2:]) == _OURS:
        # It was redriven before, and died again.
        root, headers = headers[-1][1] or root, headers[:-2]
    ours: Headers = ((REDRIVE, place_of(letter).encode()), (ROOT, root))
    return Message(key, value, (*headers, *ours))


_OURS = (REDRIVE, ROOT)
