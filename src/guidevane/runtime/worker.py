"""The one loop: fetch, handle, send, commit — in that order, always.

What it promises, whatever happens in between (``tests/unit/runtime`` crashes it at every step):

* every record of an owned partition gets one answer: a message, a dead letter, or nothing where
  the handler says so; answers keep the order of their partition;
* an offset is committed only when everything before it is answered and acknowledged;
* what a stage remembers of an event is written after the event's answer, and before its offset is committed;
* after a crash, what was answered already is not answered again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from guidevane.errors import Fenced, GuidevaneError, Misconfigured, Retryable
from guidevane.runtime.committing import Committing
from guidevane.runtime.fence import Fence
from guidevane.runtime.flight import Route
from guidevane.runtime.holding import Holding
from guidevane.runtime.limit import Tally, TooManyDeadLetters
from guidevane.runtime.modes import open_delivery
from guidevane.runtime.pacing import Limits, Pacing
from guidevane.runtime.readiness import Readiness
from guidevane.runtime.suspicion import Suspicion
from guidevane.runtime.takeover import take_over
from guidevane.runtime.timing import Meter
from guidevane.runtime.twins import Twins
from guidevane.telemetry import names
from guidevane.telemetry.tracing import NoTracer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.log import Consumer, Fetch, Log, Partition, Record
    from guidevane.pipeline import Mode
    from guidevane.runtime.delivery import Delivery
    from guidevane.runtime.stage import Stage
    from guidevane.telemetry.health import Health
    from guidevane.telemetry.metrics import Metrics
    from guidevane.telemetry.tracing import Tracer

__all__ = ["Limits", "Worker"]
UNSETTLED = (
    "partitions changed hands while writes were unacknowledged; taken over once they are answered → guidevane doctor "
    "(replicas)"
)
_CLOSE_S = 5.0
_log = logging.getLogger(__name__)


class Worker:
    """Runs the stages of one process, from the first one's input to the last one's output."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        log: Log,
        dlq: str,
        group: str,
        instance: str,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        tracer: Tracer | None = None,
        limits: Limits | None = None,
        mode: Mode = "effective",
    ) -> None:
        for stage, following in itertools.pairwise(stages):
            if stage.output != following.input:
                raise Misconfigured(f"{following.name} reads {following.input}, but {stage.name} writes {stage.output}")
        for stage in stages:
            if stage.memory is not None and stage.concurrency != 1:
                raise Misconfigured(f"{stage.name} remembers, and batches side by side have no order → concurrency=1")
        self.stages = stages
        self.log = log
        self.group = group
        self.instance = instance
        self.clock = clock
        self.metrics = metrics
        self.health = health
        self.limits = limits or Limits()
        self.mode: Mode = mode
        self.fetch_settings = self.limits.fetch
        self.fence = Fence(clock, self.limits.session_s)
        turns = [asyncio.Semaphore(stage.concurrency) for stage in stages]
        self.suspicion = Suspicion(stages, self.limits.max_records)
        self.route = Route(
            stages, dlq, group, clock, metrics, self.fence, tracer or NoTracer(), turns,
            Tally(self.limits.dead_letters), Meter(metrics, clock), self.suspicion,
        )  # fmt: skip
        self.pacing = Pacing(self.limits.max_records, self.limits.max_bytes)
        self.holding = Holding(self.route, self.pacing)
        self._consumer: Consumer | None = None
        self._delivery: Delivery | None = None
        self._committing: Committing | None = None
        self._generation = 0
        self._took_over = False
        self._joined = asyncio.Event()
        self._given_up = False
        self._readiness = Readiness(
            stages[0].input, stages[0].output,
            log=log, clock=clock, metrics=metrics, health=health, limits=self.limits,
            twins=Twins(clock, group, instance),
        )  # fmt: skip
        # Whether this member leaves its group for good when it ends.
        self.resigns = False

    def gather(self, fetch: Fetch) -> None:
        """Change how records are gathered, from the next fetch on."""
        self.fetch_settings = fetch
        if self._consumer is not None:
            self._consumer.gather(fetch)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then drain. Raises ``Misconfigured`` where only a person can help."""
        ticker = asyncio.create_task(self.fence.tick())
        attempt = 0
        try:
            while not stop.is_set():
                try:
                    await self._live(stop)
                except (Fenced, Retryable) as trouble:
                    # What is unsure is asked of the log: start over from the commit and the outputs.
                    self._readiness.failed(trouble)
                    if isinstance(trouble, Fenced):
                        self.metrics.count(names.FENCED_TOTAL)
                    _log.warning("starting over: %s", trouble)
                    attempt = 0 if self._took_over else attempt + 1
                    await _first_of(stop.wait(), self.limits.backoff.delay_s(attempt))
                except TooManyDeadLetters as limit:
                    await self._stopped(limit, stop)
                    raise
        finally:
            if not self._given_up:
                self.health.ready(False, "stopped")
            ticker.cancel()

    async def _stopped(self, limit: TooManyDeadLetters, stop: asyncio.Event) -> None:
        """Say why nothing is consumed any more, for long enough to be heard."""
        self._given_up = True
        self.health.ready(False, str(limit))
        self.metrics.gauge(names.STOPPED, 1, reason="dead_letters")
        self.metrics.gauge(names.DEAD_LETTER_SHARE, self.route.tally.share)
        _log.error("stopped: %s", limit)
        until_s = self.clock.monotonic_s() + self.limits.linger_s
        while not stop.is_set() and self.clock.monotonic_s() < until_s:
            self.health.tick()
            await _first_of(stop.wait(), 1.0)

    async def _live(self, stop: asyncio.Event) -> None:
        """One life: from joining the group to leaving it, or to the first trouble."""
        self._generation = 0
        self._took_over = False
        self._joined.clear()
        self.fence.reset()
        delivery = self._delivery = await open_delivery(
            self.mode, self.log, self.group, self.instance, self.stages, self.fence, self.metrics, self.limits
        )
        consumer = self.log.consumer(
            [self.stages[0].input], group=self.group, instance=self.instance, listener=self, fetch=self.fetch_settings
        )
        try:
            await consumer.start()
            self._consumer = consumer
            committing = self._committing = Committing(
                consumer, delivery, self.holding, self.route, self._readiness.twins.ousted
            )
            try:
                await self._loop(consumer, delivery, committing, stop)
            except TooManyDeadLetters:
                # What was answered before stays answered; the rest is read again when somebody has mended it.
                await committing.now()
                raise
            self.health.ready(False, "draining")
            await self._settle(committing, self.limits.drain_s)
        finally:
            self._consumer = None
            self._readiness.end()
            await self._abandon()
            self._committing = None
            if not (stop.is_set() or self.fence.closed):
                # As long as we are a member nobody else reads the outputs, for what is still on its way there.
                await delivery.settled(self.limits.settle_s)
            # A cluster that is gone must not keep us from starting over.
            leave = consumer.resign if self.resigns and stop.is_set() else consumer.close
            for close in (leave, delivery.close):
                with suppress(GuidevaneError, TimeoutError, asyncio.InvalidStateError):
                    async with asyncio.timeout(_CLOSE_S):
                        await close()

    async def _loop(self, consumer: Consumer, delivery: Delivery, committing: Committing, stop: asyncio.Event) -> None:
        committed_s = self.clock.monotonic_s()
        self._readiness.begin()
        paused: list[Partition] = []
        while not stop.is_set():
            self.health.tick()
            self.fence.check()
            if self.holding.land():
                self._readiness.got_further()
            if self.clock.monotonic_s() - committed_s >= self.limits.commit_every_s:
                self._readiness.take_stock(consumer, self.holding)
                committing.beside()
                committed_s = self.clock.monotonic_s()
            if await committing.overdue(self.limits.poll_s):
                continue
            self._readiness.look_when_due()
            paused = self._paced(consumer, paused)
            if self.pacing.full:
                # Fetching goes on, for the group's sake, and brings nothing; answers wake us.
                await consumer.fetch(timeout_s=0)
                await self.holding.first_landed(self.limits.poll_s)
                continue
            if not self._joined.is_set():
                # Partitions are changing hands: nothing may be launched until it is known whose they are.
                await _first_of(self._joined.wait(), self.limits.poll_s)
                continue
            if self._unowned(consumer) and not await delivery.settled(self.limits.poll_s):
                self.health.ready(False, UNSETTLED)
                continue
            generation = self._generation
            found = await consumer.fetch(timeout_s=self.limits.poll_s, most=self.pacing.room)
            if generation == self._generation:
                await self._take_over(consumer, delivery)
            if generation == self._generation and self.suspicion.useful:
                await self._mark(consumer, found)
            if generation == self._generation:
                self.holding.launch(found, delivery, consumer.ends_seen)
            else:
                await self._rewind(consumer, found)

    def _paced(self, consumer: Consumer, paused: list[Partition]) -> list[Partition]:
        """Pause what is fetched, or go on with it; return what is paused now."""
        if self.pacing.full and not paused:
            paused = sorted(consumer.assignment())
            consumer.pause(paused)
            self.metrics.gauge(names.PAUSED, 1, reason=self.pacing.reason)
        elif paused and not self.pacing.full:
            consumer.resume(paused)
            paused = []
            self.metrics.gauge(names.PAUSED, 0, reason="records")
            self.metrics.gauge(names.PAUSED, 0, reason="bytes")
        return paused

    def _unowned(self, consumer: Consumer) -> list[Partition]:
        return sorted(consumer.assignment() - self.holding.owned.keys())

    async def _take_over(self, consumer: Consumer, delivery: Delivery) -> None:
        # All at once: what a stage remembers of one partition may decide about an event of another.
        new = self._unowned(consumer)
        if new:
            started_s = self.clock.monotonic_s()
            generation = self._generation
            # First who may write, then what was written: in this order nobody can come between.
            await delivery.own(new)
            places = {partition: await consumer.committed(partition) for partition in new}
            owned = await take_over(self.log, self.stages, self.route.dlq, places)
            if generation != self._generation:
                return
            self.suspicion.taken_over({partition: each.place for partition, each in owned.items()})
            self.holding.owned.update(owned)
            self._took_over = True
            self.metrics.observe(
                names.RECOVERY_DURATION_SECONDS, self.clock.monotonic_s() - started_s, stage=self.stages[0].name
            )
        if self.holding.owned.keys() >= consumer.assignment():
            self._readiness.owns_all()

    async def _mark(self, consumer: Consumer, found: Mapping[Partition, Sequence[Record]]) -> None:
        """Write down that this owner begins, before the first records of a partition are handled."""
        places = self.suspicion.unmarked({p: self.holding.owned[p].place for p, records in found.items() if records})
        if places:
            try:
                await consumer.commit({partition: place.committed() for partition, place in places.items()})
            except Fenced as lost:
                _log.warning("not marked: %s", lost)

    async def _rewind(self, consumer: Consumer, found: Mapping[Partition, Sequence[Record]]) -> None:
        """Fetch again what came while partitions changed hands: it may be from before or from after."""
        for partition in found:
            place = await consumer.committed(partition) if partition in consumer.assignment() else None
            if partition in consumer.assignment():
                consumer.seek(partition, place.offset if place is not None else 0)

    async def _settle(self, committing: Committing, within_s: float) -> None:
        """Let what is in flight land, for so long; commit what landed."""
        await self.holding.all_landed(within_s)
        await committing.now()

    async def _abandon(self) -> None:
        if self._committing is not None:
            await self._committing.cancel()
        await self.holding.abandon()
        if self._delivery is not None:
            await self._delivery.disown()

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Finish and commit what is in flight; after this, others own the partitions."""
        self.health.ready(False, "rebalancing")
        self._generation += 1
        self._joined.clear()
        if partitions and self._committing is not None:
            try:
                await self._settle(self._committing, self.limits.session_s / 2)
            except GuidevaneError as unsettled:
                _log.warning("not all was settled before the partitions went: %s", unsettled)
        await self._abandon()

    async def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Take note; each partition is taken over before its first record is handled."""
        self._generation += 1
        self._joined.set()
        self.metrics.count(names.REBALANCES_TOTAL)
        self.metrics.gauge(names.OWNED_PARTITIONS, len(partitions), topic=self.stages[0].input)


async def _first_of(waiting: object, within_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await waiting  # type: ignore[misc]
