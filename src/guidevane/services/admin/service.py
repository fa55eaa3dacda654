"""The room: it follows the topics, reads single records back, and writes two things: pauses and their audit."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from guidevane.control.audit import next_row
from guidevane.errors import Reject, Retryable
from guidevane.events import Control
from guidevane.log import Fetch, Message, Partition
from guidevane.services.admin.state import REMEMBERED, State, decision_of
from guidevane.services.admin.views import Seen
from guidevane.topics import AUDIT, CONTROL, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.log import Consumer, Log, Producer, Record
    from guidevane.services.admin.state import Subject, Watch
    from guidevane.services.admin.views import DecisionRecord, Order
    from guidevane.telemetry.health import Health

INDEX_SIZE = 200_000
_AUDIT_ROWS = 10_000
_FETCH = Fetch(wait_s=0.5, max_records=2_000)
_WRITE_TIMEOUT_S = 5.0
_RETRY_S = 1.0
_LOOK_TIMEOUT_S = 2.0
_MARKS = 4

logger = logging.getLogger(__name__)


class AdminRoom:
    """What the HTTP routes ask. ``run`` must be running for anything to be known."""

    def __init__(
        self,
        log: Log,
        producer: Producer,
        codec: Codec,
        subjects: Iterable[Subject],
        clock: Clock,
        *,
        health: Health,
        index_size: int = INDEX_SIZE,
    ) -> None:
        self.log = log
        self.producer = producer
        self.codec = codec
        self.clock = clock
        self.state = State(subjects, codec, index_size=index_size)
        self.caught_up = False
        self.trouble: str | None = None
        self._health = health
        self._tails = self._how_far_back()
        self._goals: dict[Partition, int] = {}
        self._read_to: dict[Partition, int] = {}
        self._moved = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._catching_up = asyncio.Lock()
        self._indexed_to: dict[Partition, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the topics until told to stop."""
        reader = self.log.reader(self.state.topics, fetch=_FETCH)
        try:
            await self._start(reader)
            while not stop.is_set():
                await self._follow(reader)
                seen = self.seen()
                self._health.tick()
                self._health.ready(seen.ready, "; ".join(seen.reasons) or "following")
        finally:
            self.caught_up = False
            await reader.close()

    def seen(self) -> Seen:
        """Tell whether all that was on the topics at the start has been read, and whether the log answers."""
        behind = sum(max(end - self._read_to.get(at, 0), 0) for at, end in self._goals.items())
        reasons = [] if self.caught_up else [f"{behind} records of the topics are still to be read"]
        reasons += [self.trouble] if self.trouble else []
        return Seen(
            ready=not reasons,
            reasons=reasons,
            behind_records=0 if self.caught_up else behind,
            undecodable=dict(self.state.undecodable),
        )

    async def latest(self, watch: Watch, limit: int) -> list[DecisionRecord]:
        """Return the decisions written last, newest first, read from the ends of their topic. Raises ``Retryable``."""
        found: list[Record] = []
        for number, end in (await self.log.ends(watch.topics.decisions)).items():
            # Behind the last record, there may be the mark of a transaction.
            start = max(end - limit - _MARKS, 0)
            found += await self.log.read(Partition(watch.topics.decisions, number), start, end)
        shown: list[DecisionRecord] = []
        for record in sorted(found, key=_written_at)[::-1]:
            if len(shown) < limit:
                with suppress(Reject):
                    shown.append(decision_of(record, self.codec))
        return shown

    async def last_models(self, watch: Watch) -> Mapping[str, str]:
        """Return the versions that made the last decision, by member; nothing where each member tells its own."""
        told = watch.figures.members(watch.subject.models, {}, self.clock.now_us())
        if all(each.versions for each in told):
            return {}
        with suppress(Retryable, TimeoutError):
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                for each in await self.latest(watch, 1):
                    models: dict[str, str] = each.decision["models"]
                    return models
        return {}

    async def _catch_up(self, watch: Watch) -> None:
        """Learn where the decisions lie that were written since somebody asked last, as many as the index holds.

        There are thousands a second, and mostly nobody asks: to follow them took 8 to 16 us of CPU for each.
        """
        async with self._catching_up:
            ends = await self.log.ends(watch.topics.decisions)
            each = -(-watch.index.size // max(len(ends), 1))
            left: dict[Partition, int] = {}
            for number, end in ends.items():
                partition = Partition(watch.topics.decisions, number)
                start = max(self._indexed_to.get(partition, 0), end - each)
                if start < end:
                    left[partition] = start
            # In turns, so that of all partitions about the same time is remembered.
            while left:
                for partition, start in list(left.items()):
                    stop = min(start + _FETCH.max_records, ends[partition.number])
                    if records := await self.log.read(partition, start, stop):
                        self.state.follow(records)
                    self._indexed_to[partition] = left[partition] = stop
                    if stop == ends[partition.number]:
                        del left[partition]

    async def decision(self, watch: Watch, identity: str) -> DecisionRecord | None:
        """Return the first decision with this decision id or event id, read back from the log.

        ``None`` where the index does not know it, or the topic no longer has it. Raises ``Retryable``.
        """
        await self._catch_up(watch)
        for decision_id in (identity, watch.decision_id_of(identity)):
            for partition, offset in watch.index.find(decision_id):
                for record in await self.log.read(partition, offset, offset + 1):
                    try:
                        found = decision_of(record, self.codec)
                    except Reject:
                        continue
                    if found.decision["decision_id"] == decision_id:
                        return found
        return None

    async def steer(self, watches: Sequence[Watch], order: Order, *, paused: bool) -> None:
        """Pause or resume the controllers of these pipelines: the audit row first, then the control event.

        Raises ``Retryable`` where Kafka does not take them in time; what was audited may then not have been done.
        """
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT_S), self._writing:
                for watch in watches:
                    await self._read_all(CONTROL)
                    before = watch.control.get("controller")
                    epoch = 1 if before is None else before["epoch"] + 1
                    await self._audit(watch, order, epoch=epoch, paused=paused)
                    await self._control(watch, order, epoch=epoch, paused=paused)
        except TimeoutError as late:
            said = f"the log did not take the order in {_WRITE_TIMEOUT_S:g} s: see the audit log, then try again"
            raise Retryable(said) from late

    async def _audit(self, watch: Watch, order: Order, *, epoch: int, paused: bool) -> None:
        action = "pause" if paused else "resume"
        while True:
            await self._read_all(AUDIT)
            row = next_row(
                self.state.chain.last,
                at_us=self.clock.now_us(),
                actor=order.actor,
                action=action,
                object=f"{watch.subject.name}/controller",
                reason=order.reason,
                detail={"epoch": epoch, "settings": {"paused": float(paused)}},
            )
            value = self.codec.encode("audit", row)
            offset = await self.producer.send(AUDIT, 0, [Message(watch.subject.name.encode(), value)])
            await self._read_until(Partition(AUDIT, 0), offset + 1)
            # Another writer may have continued the same row a moment before: then ours counts for nothing.
            if any(each.hash == row["hash"] for each in self.state.audit):
                return

    async def _control(self, watch: Watch, order: Order, *, epoch: int, paused: bool) -> None:
        control = Control(
            pipeline=watch.subject.name,
            room="controller",
            at_us=self.clock.now_us(),
            epoch=epoch,
            settings={"paused": float(paused)},
            actor=order.actor,
            reason=order.reason,
        )
        key = f"{watch.subject.name}/controller".encode()
        offset = await self.producer.send(CONTROL, 0, [Message(key, self.codec.encode("control", control))])
        await self._read_until(Partition(CONTROL, 0), offset + 1)

    async def _start(self, reader: Consumer) -> None:
        starts: dict[Partition, int] = {}
        for topic in self.state.topics:
            ends = await self.log.ends(topic)
            tail = self._tails.get(topic)
            for number, end in ends.items():
                partition = Partition(topic, number)
                self._goals[partition] = end
                starts[partition] = 0 if tail is None else max(end - -(-tail // len(ends)), 0)
        await reader.start()
        for partition, start in starts.items():
            self._read_to[partition] = start
            reader.seek(partition, start)

    async def _follow(self, reader: Consumer) -> None:
        try:
            fetched = await reader.fetch(timeout_s=0.5)
        except Retryable as broken:
            if self.trouble is None:
                logger.warning("the log does not answer", extra={"error": str(broken)})
            self.trouble = str(broken)
            await asyncio.sleep(_RETRY_S)
            return
        self.trouble = None
        for records in fetched.values():
            if records:
                self.state.follow(records)
        # Not the last record's offset: a topic may end in the mark of a transaction, and no record ever follow.
        self._read_to |= {at: to for at in self._read_to if (to := reader.position(at)) is not None}
        # A compacted topic may end in a gap: that nothing more comes also means that all was read.
        if not fetched or all(self._read_to[at] >= end for at, end in self._goals.items()):
            self.caught_up = True
        async with self._moved:
            self._moved.notify_all()

    async def _read_all(self, topic: str) -> None:
        for number, end in (await self.log.ends(topic)).items():
            await self._read_until(Partition(topic, number), end)

    async def _read_until(self, partition: Partition, end: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._read_to.get(partition, 0) >= end)

    def _how_far_back(self) -> dict[str, int]:
        tails = {TELEMETRY: REMEMBERED, AUDIT: _AUDIT_ROWS}
        for watch in self.state.watches.values():
            topics = watch.topics
            tails |= {topics.alerts: REMEMBERED, topics.dlq: REMEMBERED}
        return tails


def _written_at(record: Record) -> int:
    return record.timestamp_us
