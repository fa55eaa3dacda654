"""The room's loop: read, note, watch, write, and now and then a snapshot with its offsets."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.errors import Fenced, GuidevaneError, Retryable, TooLarge
from guidevane.log import Committed, Fetch, Partition
from guidevane.runtime.fence import Fence
from guidevane.runtime.garbage import freeze
from guidevane.runtime.held import Held
from guidevane.runtime.retry import Backoff
from guidevane.runtime.sizes import Sizes
from guidevane.runtime.twins import Twins
from guidevane.services.monitors.recovery import ends_of, read_again, written_since
from guidevane.services.monitors.store import Snapshot, Span
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.log import Consumer, Log, Producer, Record
    from guidevane.services.monitors.store import Store
    from guidevane.services.monitors.watching import Output, Watcher
    from guidevane.telemetry.health import Health
    from guidevane.telemetry.metrics import Metrics
    from guidevane.topics import Topics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the room paces itself. A snapshot never takes more than ``snapshot_share`` of the time, however large."""

    fetch: Fetch = field(default_factory=lambda: Fetch(wait_s=0.05, max_records=2048))
    poll_s: float = 0.25
    snapshot_every_s: float = 15.0
    snapshot_share: float = 0.1
    session_s: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(0.2, 5.0))
    held_s: float = 30.0


class MonitorsRoom:
    """Reads accepted events, decisions and labels; writes outcomes, alerts and the dead letters of labels.

    One of it watches a whole pipeline: it works while it owns every partition, and stands by while it does not.
    What it writes, it writes once: after a crash it goes on from the last snapshot, reads again what it had read
    since, in the same order, and leaves out what it finds written.
    """

    def __init__(
        self,
        begin: Callable[[Mapping[str, int]], Watcher],
        store: Store,
        *,
        topics: Topics,
        log: Log,
        group: str,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        pace: Pace | None = None,
    ) -> None:
        self._begin = begin
        self._store = store
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._pace = pace or Pace()
        self._group = group
        self._inputs = (topics.accepted, topics.decisions, topics.labels)
        self._outputs = (topics.outcomes, topics.alerts, topics.dlq)
        self._fence = Fence(clock, self._pace.session_s)
        # Held by whoever changes what is remembered: a step, a recovery, a revocation.
        self._busy = asyncio.Lock()
        self._generation = 0
        self._consumer: Consumer | None = None
        # There is one while every partition is ours, and what it remembers is where the positions are.
        self._watcher: Watcher | None = None
        self._positions: dict[Partition, int] = {}
        self._sizes = Sizes()
        self._twins = Twins(clock, group, group, "one is enough: `guidevane up --without monitors`")
        self._held = Held(clock, within_s=self._pace.held_s)
        # What an earlier life wrote, read back from ``since``, of inputs before ``until``.
        self._written: set[str] = set()
        self._since: Mapping[Partition, int] = {}
        self._until: Mapping[Partition, int] = {}
        self._unsaved = False
        self._worked = False
        # What ended the last life, until this one is seen to get further.
        self._trouble = ""
        # Whether the next deal of partitions follows from a start of our own, not from another one of our name.
        self._began = True
        self._due_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then save and leave. Raises ``Misconfigured`` where only a person can help."""
        freeze()
        ticker = asyncio.create_task(self._fence.tick())
        attempt = 0
        try:
            while not stop.is_set():
                try:
                    await self._live(stop)
                except (Fenced, Retryable) as trouble:
                    if isinstance(trouble, TooLarge):
                        self._sizes.learn(trouble)
                    # What is unsure is asked of the log: start over from the snapshot and the outputs.
                    self._trouble = str(trouble)
                    self._began = not isinstance(trouble, Fenced)
                    self._health.ready(False, self._trouble)
                    _log.warning("starting over: %s", trouble)
                    attempt = 0 if self._worked else attempt + 1
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._pace.backoff.delay_s(attempt)):
                            await stop.wait()
        finally:
            self._health.ready(False, "stopped")
            ticker.cancel()
            self._store.close()

    async def _live(self, stop: asyncio.Event) -> None:
        self._fence.reset()
        self._worked = False
        self._store.open()
        producer = await self._log.producer(name=self._group)
        # There is one room per pipeline, so its name as a static member can be the group's: who starts it
        # again after a crash has its partitions at once, not after the dead member's session.
        consumer = self._log.consumer(
            self._inputs, group=self._group, instance=self._group, listener=self, fetch=self._pace.fetch
        )
        self._consumer = consumer
        try:
            await consumer.start()
            while not stop.is_set():
                self._health.tick()
                await self._turn(consumer, producer)
            self._health.ready(False, "draining")
            async with self._busy:
                await self._settle(consumer)
        finally:
            # Half a step must never be saved: after an error, leaving the group saves nothing.
            self._consumer = self._watcher = None
            # A cluster that is gone must not keep us from starting over.
            for close in (consumer.close, producer.close):
                with suppress(GuidevaneError, TimeoutError):
                    async with asyncio.timeout(5.0):
                        await close()

    async def _turn(self, consumer: Consumer, producer: Producer) -> None:
        if self._watcher is None:
            async with self._busy:
                await self._take_over(consumer, producer)
        if self._watcher is not None:
            wrong = self._twins.says or self._trouble
            self._health.ready(not wrong, wrong or "watching")
        generation = self._generation
        found = await consumer.fetch(timeout_s=self._pace.poll_s)
        async with self._busy:
            if self._watcher is None or generation != self._generation:
                return
            await self._step(self._watcher, found, producer)
            if any(found.values()) or self._caught_up(consumer):
                self._trouble = ""
            if self._clock.monotonic_s() >= self._due_s:
                self._look(consumer)
                await self._settle(consumer)

    def _caught_up(self, consumer: Consumer) -> bool:
        ends, read = consumer.ends_seen(), self._positions
        return ends.keys() >= self._until.keys() and all(read.get(where, 0) >= end for where, end in ends.items())

    def _look(self, consumer: Consumer) -> None:
        """Say so where a producer's open transaction holds up what we read: labels are the world's to write."""
        self._held.look(consumer.held())
        self._health.watch(*self._held.says)
        for topic in self._inputs:
            self._metrics.gauge(names.HELD_PARTITIONS, self._held.partitions(topic), topic=topic)

    async def _take_over(self, consumer: Consumer, producer: Producer) -> None:
        """Begin where the last life ended, once every partition is ours."""
        generation, owned = self._generation, consumer.assignment()
        self._until = await ends_of(self._log, self._inputs)
        if not owned or not owned >= self._until.keys():
            self._health.ready(False, f"standing by: {len(owned)} of {len(self._until)} partitions are ours")
            consumer.pause(sorted(owned))
            return
        started_s = self._clock.monotonic_s()
        self._health.ready(False, "recovering")
        ends = await ends_of(self._log, self._outputs)
        watcher = self._begin(Counter(topic for topic, _ in ends))
        watcher.sizes = self._sizes
        snapshot, spans = await asyncio.to_thread(self._store.load)
        if snapshot is not None:
            await asyncio.to_thread(watcher.restore, snapshot.state, snapshot.pages)
        self._positions = dict.fromkeys(self._until, 0) | dict(snapshot.positions if snapshot else {})
        self._since, self._written = snapshot.ends if snapshot else {}, set()
        async for identities in written_since(self._log, watcher, self._since, ends):
            self._health.tick()
            self._written |= identities
        async for records in read_again(self._log, spans):
            self._health.tick()
            if generation != self._generation:
                return
            await self._watch(watcher, records, producer)
        if generation != self._generation:
            return
        for partition in sorted(owned):
            consumer.seek(partition, self._positions[partition])
        consumer.resume(sorted(owned))
        self._watcher, self._unsaved = watcher, True
        await self._settle(consumer)
        self._worked = True
        self._metrics.observe(names.RECOVERY_DURATION_SECONDS, self._clock.monotonic_s() - started_s, stage="monitors")

    async def _step(self, watcher: Watcher, found: Mapping[Partition, Sequence[Record]], producer: Producer) -> None:
        batches = [(partition, records) for partition, records in found.items() if records]
        if not batches:
            return
        # Before anything that follows from it leaves the room: a restart must read in the same order.
        self._store.note([Span(where, records[0].offset, records[-1].offset + 1) for where, records in batches])
        self._unsaved = True
        for _, records in batches:
            await self._watch(watcher, records, producer)
            # The group's heartbeat shares this loop.
            await asyncio.sleep(0)
            await self._write_down(watcher)

    async def _write_down(self, watcher: Watcher) -> None:
        """Write what the join took in, a little at a time: a snapshot then has little to write."""
        for _ in self._store.pages.write(watcher.join.remembered):
            await asyncio.sleep(0)

    async def _watch(self, watcher: Watcher, records: Sequence[Record], producer: Producer) -> None:
        """Take one partition's records; return once all that they gave rise to is acknowledged."""
        new: dict[Partition, list[Output]] = {}
        for output in watcher.take(records):
            if output.identity in self._written:
                self._written.discard(output.identity)
            else:
                new.setdefault(Partition(output.topic, output.partition), []).append(output)
        self._fence.check()
        sending = [
            producer.send(topic, number, [output.message for output in mine]) for (topic, number), mine in new.items()
        ]
        for answer in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
        for mine in new.values():
            for output in mine:
                self._metrics.count(output.metric, **output.labels)
        last = records[-1]
        self._positions[Partition(last.topic, last.partition)] = last.offset + 1

    async def _settle(self, consumer: Consumer) -> None:
        """Write down what is remembered and where that is, then tell the group."""
        if self._watcher is None or not self._unsaved:
            return
        started_s = self._clock.monotonic_s()
        if self._written and all(self._positions[where] >= end for where, end in self._until.items()):
            _log.warning("%d outputs of an earlier life were not repeated: its journal is lost", len(self._written))
            self._written.clear()
        if not self._written:
            self._since = await ends_of(self._log, self._outputs)
        await self._write_down(self._watcher)
        # Beside the loop, which has a heartbeat to keep; nobody changes the state meanwhile, for we hold the lock.
        state = await asyncio.to_thread(self._watcher.state)
        await asyncio.to_thread(self._store.save, Snapshot(dict(self._positions), self._since, state))
        self._unsaved = False
        await consumer.commit({where: Committed(offset) for where, offset in self._positions.items()})
        took_s = self._clock.monotonic_s() - started_s
        self._due_s = self._clock.monotonic_s() + max(self._pace.snapshot_every_s, took_s / self._pace.snapshot_share)
        self._metrics.observe(names.COMMIT_DURATION_SECONDS, took_s)

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Save; after this, others own the partitions."""
        self._generation += 1
        async with self._busy:
            if partitions and self._consumer is not None:
                try:
                    await self._settle(self._consumer)
                except GuidevaneError as unsettled:
                    _log.warning("not saved before the partitions went: %s", unsettled)
            self._watcher = None

    async def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Take note; what is ours is taken over before anything of it is watched."""
        self._generation += 1
        # Alone in its group, it is dealt the partitions once a life.
        if not self._began:
            self._twins.ousted()
        self._began = False
        async with self._busy:
            self._watcher = None
        self._metrics.count(names.REBALANCES_TOTAL)
        for topic in self._inputs:
            mine = sum(partition.topic == topic for partition in partitions)
            self._metrics.gauge(names.OWNED_PARTITIONS, mine, topic=topic)
