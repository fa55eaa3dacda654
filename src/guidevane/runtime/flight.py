"""One fetched batch on its way through the stages: handled, posted, acknowledged."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from guidevane.errors import Reject
from guidevane.log import Message, Partition, Record
from guidevane.runtime.deadletter import dead_letter
from guidevane.runtime.handling import answers
from guidevane.runtime.stage import Changes, Stage, carried, origin_of
from guidevane.telemetry import names
from guidevane.telemetry.service import served
from guidevane.telemetry.tracing import links_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.runtime.delivery import Outbox
    from guidevane.runtime.fence import Fence
    from guidevane.runtime.limit import Tally
    from guidevane.runtime.takeover import Ownership
    from guidevane.telemetry.metrics import Metrics
    from guidevane.telemetry.tracing import Tracer


class _Posted(NamedTuple):
    topic: str
    partition: int
    size: int
    first_offset: Awaitable[int]


class _Timed(NamedTuple):
    """What a stage handled and answered, to be timed when who waits for it has it."""

    stage: Stage
    records: list[Record]
    messages: list[Message]


@dataclass(slots=True)
class Flight:
    """A batch, where its partitions stand after it, and which of its stages have let the next batch pass.

    ``changes`` is what the stages' memories hold anew after it.
    """

    records: Sequence[Record]
    ends: dict[Partition, int]
    bytes: int
    before: Flight | None
    passed: list[asyncio.Event]
    outputs: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    changes: dict[int, Changes] = field(default_factory=dict)


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

    async def carry(self, flight: Flight, outbox: Outbox, owned: dict[Partition, Ownership]) -> None:
        """Take a flight through every stage; return when all of its outputs are acknowledged."""
        try:
            async with asyncio.TaskGroup() as waiting:
                records = flight.records
                for index in range(len(self.stages)):
                    records = await self._pass(index, records, flight, outbox, owned, waiting)
                if outbox.atomic:
                    for topic, number, messages in self.remembered(flight.changes):
                        await outbox.post(topic, number, messages)
                await outbox.seal()
        except BaseExceptionGroup as several:
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

    async def _pass(
        self,
        index: int,
        records: Sequence[Record],
        flight: Flight,
        outbox: Outbox,
        owned: dict[Partition, Ownership],
        waiting: asyncio.TaskGroup,
    ) -> list[Record]:
        """Take a flight through one stage; return what the next one reads."""
        stage, source = self.stages[index], self.stages[0].input
        known = {n: owned[Partition(source, n)].answered[index] for n in {r.partition for r in records}}
        origins = [origin_of(record, first=stage.first) for record in records]
        fresh = [i for i, r in enumerate(records) if origins[i] not in known[r.partition]]
        came_s = self.clock.monotonic_s()
        async with self.turns[index]:
            started_us, started_s = self.clock.now_us(), self.clock.monotonic_s()
            self._measure_hop(index, records, started_us, started_s - came_s)
            if stage.memory is not None:
                records, flight.changes[index] = stage.memory.advance(records, origins)
            results = await answers(stage, [records[i] for i in fresh], clock=self.clock, metrics=self.metrics)
            self._measure(stage, len(fresh), started_s)
        rejects = [result for result in results if isinstance(result, Reject)]
        # Before anything of the batch is written: past the limit, it stays in the log as it came.
        self.tally.note(stage.name, len(fresh) if index == 0 else 0, rejects)
        # Batches may be handled side by side, but what they say leaves in their order.
        if flight.before is not None:
            await flight.before.passed[index].wait()
        self.fence.check()
        sent: dict[int, list[Message]] = defaultdict(list)
        letters: dict[int, list[Message]] = defaultdict(list)
        onward: dict[int, Record] = {}
        for i, result in zip(fresh, results, strict=True):
            record = records[i]
            if isinstance(result, Message):
                headers = carried(record, origins[i], result, first=stage.first)
                message = Message(result.key, result.value, headers, result.body)
                sent[record.partition].append(message)
                onward[i] = _as_record(stage.output, record, message, origins[i])
            elif isinstance(result, Reject):
                letters[record.partition].append(self._letter(stage, record, origins[i], result))
        if len(fresh) < len(records):
            self.metrics.count(names.SKIPPED_TOTAL, len(records) - len(fresh), stage=stage.name)
            for i, r in enumerate(records):
                if (before := known[r.partition].outputs.get(origins[i])) is not None:
                    onward[i] = before
        posted = [
            _Posted(topic, number, len(messages), await outbox.post(topic, number, messages))
            for topic, by_partition in ((stage.output, sent), (self.dlq, letters))
            for number, messages in by_partition.items()
        ]
        flight.passed[index].set()
        self._count(stage, sent, letters, len(fresh))
        if self.tracer.enabled:
            ended_us = self.clock.now_us()
            links = links_of([onward[i] for i in fresh if i in onward])
            self.tracer.batch(stage.name, links, start_us=started_us, end_us=ended_us, size=len(fresh))
        timed = _Timed(stage, [records[i] for i in fresh], [m for messages in sent.values() for m in messages])
        if index < len(self.stages) - 1:
            # The next stage has its records now; who reads them from the topic is not on the way.
            self._measure_ages(timed)
            waiting.create_task(self._acknowledged(flight, posted))
        else:
            waiting.create_task(self._acknowledged(flight, posted, timed, self.clock.monotonic_s()))
        return [onward[i] for i in sorted(onward)]

    def _letter(self, stage: Stage, record: Record, origin: int, reject: Reject) -> Message:
        self.metrics.count(names.DEAD_LETTERS_TOTAL, stage=stage.name, cause=reject.cause)
        # Where stages are fused, a record's own offset is not known yet: its origin names it.
        named = record._replace(offset=origin) if record.offset < 0 else record
        return dead_letter(named, reject, stage=stage.name, group=self.group, now_us=self.clock.now_us(), origin=origin)

    async def _acknowledged(
        self, flight: Flight, posted: list[_Posted], timed: _Timed | None = None, posted_s: float = 0.0
    ) -> None:
        """Once the outputs are durable, note where they stand."""
        for topic, number, count, ack in posted:
            outputs = flight.outputs[number]
            outputs[topic] = max(outputs.get(topic, 0), await ack + count)
        if timed is not None:
            took_s = self.clock.monotonic_s() - posted_s
            self.metrics.observe(names.ACKNOWLEDGE_DURATION_SECONDS, took_s, stage=timed.stage.name)
            self._measure_ages(timed)

    def _measure_ages(self, timed: _Timed) -> None:
        """Note how long it is since the records were readable, and since their events happened."""
        stage, records, messages = timed
        now_us = self.clock.now_us()
        arrived = np.array([r.timestamp_us for r in records if r.timestamp_us], dtype=np.float64)
        if arrived.size:
            self.metrics.observe(names.STAGE_DURATION_SECONDS, (now_us - arrived) / 1e6, stage=stage.name)
        bodies = [message.body for message in messages]
        happened = [body["event_time_us"] for body in bodies if isinstance(body, dict) and "event_time_us" in body]
        if happened:
            happened_us = np.array(happened, np.float64)
            self.metrics.observe(names.AGE_SECONDS, (now_us - happened_us) / 1e6, stage=stage.name)
            if stage is self.stages[0]:
                # What is fused behind it answers the same events.
                self.metrics.arrive(stage.name, happened_us, now_us)

    def _measure_hop(self, index: int, records: Sequence[Record], started_us: int, waited_s: float) -> None:
        """Note how long records were on their way to a stage: by the log, or within the process."""
        station = self.stages[index].name
        if index:
            self.metrics.observe(names.HOP_DURATION_SECONDS, waited_s, station=station)
        elif (arrived := np.array([r.timestamp_us for r in records if r.timestamp_us], dtype=np.float64)).size:
            self.metrics.observe(names.HOP_DURATION_SECONDS, (started_us - arrived) / 1e6, station=station)

    def _measure(self, stage: Stage, size: int, started_s: float) -> None:
        if size:
            took_s = self.clock.monotonic_s() - started_s
            self.metrics.observe(names.BATCH_SIZE, float(size), stage=stage.name)
            self.metrics.observe(names.HANDLE_DURATION_SECONDS, took_s, stage=stage.name)
            served(self.metrics, stage.name, size, took_s)

    def _count(
        self, stage: Stage, sent: dict[int, list[Message]], letters: dict[int, list[Message]], total: int
    ) -> None:
        out, dead = sum(map(len, sent.values())), sum(map(len, letters.values()))
        for result, n in (("out", out), ("reject", dead), ("skip", total - out - dead)):
            if n:
                self.metrics.count(names.EVENTS_TOTAL, n, stage=stage.name, result=result)


def _as_record(topic: str, source: Record, message: Message, origin: int) -> Record:
    """Return a message as the next stage reads it; its offset is not known before the log has answered."""
    key, value, headers, body = message
    return Record(topic, source.partition, -1, key, value, headers, source.timestamp_us, body, origin)
