"""One fetched batch on its way through the stages: handled, posted, acknowledged."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby, repeat
from typing import TYPE_CHECKING, NamedTuple, cast

from guidevane.errors import Reject, TooLarge
from guidevane.log import Message, Partition, Record, records_of
from guidevane.runtime.deadletter import dead_letter
from guidevane.runtime.sizes import Sizes
from guidevane.runtime.stage import ORIGIN, Changes, Stage, addressed, carried, origins_of
from guidevane.telemetry import names
from guidevane.telemetry.tracing import links_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.runtime.delivery import Outbox
    from guidevane.runtime.fence import Fence
    from guidevane.runtime.limit import Tally
    from guidevane.runtime.stage import Result
    from guidevane.runtime.suspicion import Suspicion
    from guidevane.runtime.takeover import Ownership
    from guidevane.runtime.timing import Meter, Times
    from guidevane.telemetry.metrics import Metrics
    from guidevane.telemetry.tracing import Tracer


class _Posted(NamedTuple):
    topic: str
    partition: int
    size: int
    first_offset: Awaitable[int]
    since_s: float


class _Timed(NamedTuple):
    """What a stage handled and what it answered with a message, to be timed when who waits for it has it."""

    stage: str
    handled: Times
    spoken: Times
    first: bool


class _Sorted(NamedTuple):
    """What a stage said: by partition what is written; and its messages, with their places in the batch.

    ``onward`` are the messages as the next stage reads them, where there is one or a tracer asks.
    """

    sent: Mapping[int, Sequence[Message]]
    letters: Mapping[int, Sequence[Message]]
    places: Sequence[int]
    messages: Sequence[Message]
    onward: Sequence[Record]


@dataclass(slots=True)
class Flight:
    """A batch, where its partitions stand after it, and which of its stages have let the next batch pass.

    ``changes`` is what the stages' memories hold anew after it, ``times`` are those of the records on their way.
    ``unseen`` are those of its events, by partition and origin, that another worker's answers have brought so far.
    ``awaited`` is where it waits for an acknowledgement, with since when: of several, the first that is not there.
    What is seen together is written when the flight is sealed, at ``sealed_s``, and not before.
    """

    records: Sequence[Record]
    times: Times
    ends: dict[Partition, int]
    bytes: int
    before: Flight | None
    passed: list[asyncio.Event]
    outputs: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    changes: dict[int, Changes] = field(default_factory=dict)
    unseen: set[tuple[int, int]] = field(default_factory=set)
    awaited: dict[Partition, float] = field(default_factory=dict)
    sealed_s: float = 0.0

    def seen(self, index: int, records: Sequence[Record], origins: Sequence[int], fresh: Sequence[int]) -> int:
        """Return how many events this worker handles for the first time at stage number ``index``."""
        if len(fresh) == len(records) and not self.unseen:
            return len(fresh) if index == 0 else 0
        handled = {(records[i].partition, origins[i]) for i in fresh}
        if index == 0:
            self.unseen = {(r.partition, at) for r, at in zip(records, origins, strict=True)} - handled
            return len(fresh)
        new = handled & self.unseen
        self.unseen -= new
        return len(new)


@dataclass(frozen=True, slots=True)
class Route:
    """The stages that one worker runs, and what they need to run."""

    stages: Sequence[Stage]
    dlq: str
    group: str
    clock: Clock
    metrics: Metrics
    fence: Fence
    tracer: Tracer
    turns: Sequence[asyncio.Semaphore]
    tally: Tally
    meter: Meter
    suspicion: Suspicion
    sizes: Sizes = field(default_factory=Sizes)

    async def carry(self, flight: Flight, outbox: Outbox, owned: dict[Partition, Ownership]) -> None:
        """Take a flight through every stage; return when all of its outputs are acknowledged."""
        try:
            async with asyncio.TaskGroup() as waiting:
                if outbox.atomic:
                    flight.sealed_s = math.inf
                records, origins = await self._ours(flight, outbox, waiting)
                for index in range(len(self.stages)):
                    records = await self._pass(index, records, origins, flight, outbox, owned, waiting)
                    # What goes on was made here, or was read at the takeover: both know it.
                    origins = cast("list[int]", [record.origin for record in records])
                if outbox.atomic:
                    for topic, number, messages in self.remembered(flight.changes):
                        await outbox.post(topic, number, messages)
                    flight.sealed_s = self.clock.monotonic_s()
                    flight.awaited = dict.fromkeys(flight.awaited, flight.sealed_s)
                await outbox.seal()
        except BaseExceptionGroup as several:
            for each in several.exceptions:
                if isinstance(each, TooLarge):
                    self.sizes.learn(each)
            # Whichever it was, the worker starts over: the first says enough.
            raise several.exceptions[0] from None

    def remembered(self, changes: Mapping[int, Changes]) -> list[tuple[str, int, Sequence[Message]]]:
        """Return what changelogs must be told of changes, by stage: topic, partition, messages."""
        return [
            (memory.topic, number, messages)
            for index, changed in changes.items()
            if (memory := self.stages[index].memory) is not None
            for number, messages in memory.write(changed).items()
        ]

    async def _ours(
        self, flight: Flight, outbox: Outbox, waiting: asyncio.TaskGroup
    ) -> tuple[Sequence[Record], Sequence[int]]:
        """Return a flight's records and their origins; strays, which others wrote to a topic of ours, are set aside.

        Such a record is no event's: taken for one, by its offset, it would pass for the answer to an event that has
        none yet. Its letter is nobody's outcome either, and after a crash there may be two of it.
        """
        stage, records = self.stages[0], flight.records
        origins = origins_of(records, first=stage.first)
        if None not in origins:
            return records, cast("list[int]", origins)
        ours = [place for place, origin in enumerate(origins) if origin is not None]
        strays = [record for record, origin in zip(records, origins, strict=True) if origin is None]
        reject = Reject("stray", f"a record of {stage.input} without {ORIGIN}: none of the pipeline's rooms wrote it")
        self.tally.note(stage.name, len(strays), [reject] * len(strays))
        letters: dict[int, list[Message]] = defaultdict(list)
        for record in strays:
            letters[record.partition].append(self._letter(stage, record, None, reject))
        self.fence.check()
        posted = await self._posted(flight, outbox, ((self.dlq, letters),))
        waiting.create_task(self._acknowledged(flight, posted))
        self.meter.counted(stage.name, out=0, dead=len(strays), skipped=0)
        flight.times = flight.times.at(ours)
        return [records[place] for place in ours], cast("list[int]", [origins[place] for place in ours])

    async def _pass(
        self,
        index: int,
        records: Sequence[Record],
        origins: Sequence[int],
        flight: Flight,
        outbox: Outbox,
        owned: dict[Partition, Ownership],
        waiting: asyncio.TaskGroup,
    ) -> Sequence[Record]:
        """Take a flight through one stage; return what the next one reads."""
        stage, source = self.stages[index], self.stages[0].input
        known = {n: owned[Partition(source, n)].answered[index] for n in {r.partition for r in records}}
        everything = range(len(records))
        # But for a while after a takeover, nothing has been answered before.
        again = any(known.values())
        fresh = [i for i in everything if origins[i] not in known[records[i].partition]] if again else everything
        came_s = self.clock.monotonic_s()
        async with self.turns[index]:
            started_s = self.clock.monotonic_s()
            if index:
                self.meter.waited(stage.name, started_s - came_s)
            else:
                self.meter.came(stage.name, flight.times, self.clock.now_us())
            started_us = self.clock.now_us()
            if stage.memory is not None:
                records, flight.changes[index] = stage.memory.advance(records, origins)
            handled = records if len(fresh) == len(records) else [records[i] for i in fresh]
            results = await self.suspicion.answers(stage, handled, clock=self.clock, metrics=self.metrics)
            if stage.output in self.sizes.refused:
                results = [
                    self._fitting(stage, records[i], origins[i], result)
                    for i, result in zip(fresh, results, strict=True)
                ]
            self.meter.handled(stage.name, len(fresh), self.clock.monotonic_s() - started_s)
        rejects = [result for result in results if isinstance(result, Reject)]
        # Before anything of the batch is written: past the limit, it stays in the log as it came.
        self.tally.note(stage.name, flight.seen(index, records, origins, fresh), rejects)
        # Batches may be handled side by side, but what they say leaves in their order.
        if flight.before is not None:
            await flight.before.passed[index].wait()
        self.fence.check()
        said = self._sorted(index, records, origins, fresh, results)
        posted = await self._posted(flight, outbox, ((stage.output, said.sent), (self.dlq, said.letters)))
        flight.passed[index].set()
        out, dead = len(said.messages), len(rejects)
        self.meter.counted(stage.name, out=out, dead=dead, skipped=len(fresh) - out - dead)
        if skipped := len(records) - len(fresh):
            self.metrics.count(names.SKIPPED_TOTAL, skipped, stage=stage.name)
        self._trace(stage, said.onward, len(fresh), started_us)
        times = flight.times
        spoken = self.meter.learned(times.at(said.places), said.messages)
        timed = _Timed(stage.name, times.at(fresh), spoken, index == 0)
        if index == len(self.stages) - 1:
            waiting.create_task(self._acknowledged(flight, posted, timed, self.clock.monotonic_s()))
            return ()
        # The next stage has its records now; who reads them from the topic is not on the way.
        self._timed(timed)
        waiting.create_task(self._acknowledged(flight, posted))
        if not skipped:
            flight.times = spoken
            return said.onward
        onward = dict(zip(said.places, said.onward, strict=True))
        for i, r in enumerate(records):
            if (before := known[r.partition].outputs.get(origins[i])) is not None:
                onward[i] = before
        going = sorted(onward)
        flight.times = spoken if len(going) == out else times.at(going)
        return [onward[i] for i in going]

    async def _posted(
        self, flight: Flight, outbox: Outbox, written: Sequence[tuple[str, Mapping[int, Sequence[Message]]]]
    ) -> list[_Posted]:
        """Hand messages over, by topic and partition, and note where that takes its time."""
        posted = []
        for topic, by_partition in written:
            for number, messages in by_partition.items():
                place, since_s = Partition(topic, number), self.clock.monotonic_s()
                flight.awaited[place] = max(since_s, flight.sealed_s)
                offset = await outbox.post(topic, number, messages)
                flight.awaited.pop(place, None)
                posted.append(_Posted(topic, number, len(messages), offset, since_s))
        return posted

    def _sorted(
        self,
        index: int,
        records: Sequence[Record],
        origins: Sequence[int],
        fresh: Sequence[int],
        results: Sequence[Result],
    ) -> _Sorted:
        """Turn a stage's results into what is written, and what the next stage reads."""
        stage = self.stages[index]
        letters: dict[int, list[Message]] = defaultdict(list)
        given = [result for result in results if isinstance(result, Message)]
        if len(given) == len(records):
            places: Sequence[int] = range(len(records))
            came, asked = records, origins
        else:
            places = [i for i, result in zip(fresh, results, strict=True) if isinstance(result, Message)]
            came, asked = [records[i] for i in places], [origins[i] for i in places]
            for i, result in zip(fresh, results, strict=True):
                if isinstance(result, Reject):
                    letters[records[i].partition].append(self._letter(stage, records[i], origins[i], result))
        said = addressed(came, asked, given, first=stage.first)
        numbers = [record.partition for record in came]
        wanted = said and (index < len(self.stages) - 1 or self.tracer.enabled)
        onward = _as_records(stage.output, numbers, came, said, asked) if wanted else ()
        return _Sorted(_by_partition(numbers, said), letters, places, said, onward)

    def _fitting(self, stage: Stage, record: Record, origin: int, result: Result) -> Result:
        """Return a result, or why it cannot be written."""
        if not isinstance(result, Message):
            return result
        message = result.under(carried(record, origin, result, first=stage.first))
        if self.sizes.fit(stage.output, message):
            return result
        return Reject("too_large", f"an answer of {message.size_bytes} bytes: {stage.output} takes no such message")

    def _trace(self, stage: Stage, answered: Sequence[Record], size: int, started_us: int) -> None:
        if self.tracer.enabled:
            links = links_of(answered)
            self.tracer.batch(stage.name, links, start_us=started_us, end_us=self.clock.now_us(), size=size)

    def _letter(self, stage: Stage, record: Record, origin: int | None, reject: Reject) -> Message:
        self.metrics.count(names.DEAD_LETTERS_TOTAL, stage=stage.name, cause=reject.cause)
        # Where stages are fused, a record's own offset is not known yet: its origin names it.
        named = record._replace(offset=origin) if record.offset < 0 and origin is not None else record
        now_us = self.clock.now_us()
        letter = dead_letter(named, reject, stage=stage.name, group=self.group, now_us=now_us, origin=origin)
        return self.sizes.letter(self.dlq, letter)

    async def _acknowledged(
        self, flight: Flight, posted: list[_Posted], timed: _Timed | None = None, posted_s: float = 0.0
    ) -> None:
        """Once the outputs are durable, note where they stand."""
        for topic, number, count, ack, since_s in posted:
            outputs, place = flight.outputs[number], Partition(topic, number)
            flight.awaited[place] = max(since_s, flight.sealed_s)
            outputs[topic] = max(outputs.get(topic, 0), await ack + count)
            flight.awaited.pop(place, None)
        if timed is not None:
            took_s = self.clock.monotonic_s() - posted_s
            self.meter.acknowledged(timed.stage, took_s)
            for stage in self.stages:
                if stage.on_durable is not None:
                    stage.on_durable(took_s)
            self._timed(timed)

    def _timed(self, timed: _Timed) -> None:
        self.meter.answered(timed.stage, timed.handled, timed.spoken, first=timed.first)


def _by_partition(numbers: Sequence[int], messages: Sequence[Message]) -> Mapping[int, Sequence[Message]]:
    """Return messages by the number of their partition; a fetch brings a partition's records one behind the other."""
    found: dict[int, list[Message]] = defaultdict(list)
    begin = 0
    for number, run in groupby(numbers):
        end = begin + sum(1 for _ in run)
        found[number] += messages[begin:end]
        begin = end
    return found


def _as_records(
    topic: str,
    numbers: Sequence[int],
    sources: Sequence[Record],
    messages: Sequence[Message],
    origins: Sequence[int],
) -> list[Record]:
    """Return messages as the next stage reads them; their offsets are not known before the log has answered."""
    keys, values, headers, bodies = zip(*messages, strict=True)
    times = [source.timestamp_us for source in sources]
    return records_of(repeat(topic), numbers, repeat(-1), keys, values, headers, times, bodies, origins)
