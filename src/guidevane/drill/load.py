"""The load: events sent when they are due, whatever becomes of the broker; each in the ledger before it leaves."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guidevane.errors import GuidevaneError, Retryable
from guidevane.log import Message
from guidevane.log.murmur import murmur2
from guidevane.runtime.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guidevane.clock import Clock
    from guidevane.demo.replay import Source
    from guidevane.drill.journal import Journal
    from guidevane.ledger import Ledger
    from guidevane.log import Log, Producer
    from guidevane.pipeline import Pipeline

_TICK_S = 0.01
# What no contract can read, and the cause that its dead letter must name.
POISON, POISON_CAUSE = b"{not an event", "malformed"
_AGAIN_WITHIN_S = 2.0


@dataclass(slots=True)
class _Pen:
    """The one producer; where it is in doubt it is thrown away, for its sequence is broken."""

    log: Log
    producer: Producer | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def write(self, topic: str, number: int, messages: list[Message]) -> int:
        """Send until Kafka acknowledges; return the offset. What is in doubt is sent again under the same ids."""
        waits = Backoff(0.1, 1.0)
        for attempt in range(1_000_000):
            producer = None
            try:
                async with self.turn:
                    if self.producer is None:
                        self.producer = await self.log.producer(name="drill")
                    producer = self.producer
                return await producer.send(topic, number, messages)
            except Retryable:
                if producer is not None and self.producer is producer:
                    self.producer = None
                    with suppress(GuidevaneError, TimeoutError):
                        async with asyncio.timeout(1.0):
                            await producer.close()
                await asyncio.sleep(waits.delay_s(attempt))
        raise AssertionError("a million attempts take longer than any drill")


@dataclass(slots=True, kw_only=True)
class Load:
    """Poisson arrivals at ``rate_per_s``; a share of them poison, a share sent twice. All of it drawn from ``seed``."""

    pipeline: Pipeline
    source: Source
    log: Log
    encode: Callable[[Mapping[str, Any]], bytes]
    ledger: Ledger
    journal: Journal
    clock: Clock
    seed: int
    rate_per_s: float = 60.0
    poison_share: float = 0.01
    again_share: float = 0.0
    prefix: str = ""
    sent: int = 0
    going: bool = False
    _draws: random.Random = field(init=False)
    _pen: _Pen = field(init=False)
    _lanes: list[_Lane] = field(init=False)
    _again: list[tuple[int, int, Message, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draws = random.Random(self.seed)
        self._pen = _Pen(self.log)
        self._lanes = [_Lane(self, number) for number in range(self.pipeline.partitions)]

    async def run(self, stop: asyncio.Event) -> None:
        """Send while ``going``, until told to stop and all is acknowledged."""
        due_us = self.clock.now_us()
        async with asyncio.TaskGroup() as together:
            for lane in self._lanes:
                lane.together = together
            while not stop.is_set():
                await asyncio.sleep(_TICK_S)
                now_us = self.clock.now_us()
                if not self.going:
                    due_us = now_us
                while self.going and due_us <= now_us:
                    self._send(due_us)
                    due_us += int(self._draws.expovariate(self.rate_per_s) * 1e6)
                while self._again and self._again[0][0] <= now_us:
                    _, number, message, event_id = heapq.heappop(self._again)
                    self._lanes[number].add(event_id, message)
        if self._pen.producer is not None:
            await self._pen.producer.close()

    def begin(self, prefix: str) -> None:
        """Send from now on, under ids that begin so."""
        self.prefix, self.going = prefix, True

    def end(self) -> None:
        """Send nothing new."""
        self.going = False

    @property
    def unacknowledged(self) -> int:
        """Return how many events are still on their way to Kafka."""
        return sum(lane.waiting for lane in self._lanes) + len(self._again)

    def _send(self, due_us: int) -> None:
        event_id, (lap, index) = f"{self.prefix}{self.sent}", divmod(self.sent, len(self.source))
        self.sent += 1
        event = self.source.event(index, event_id=event_id, observed_at_us=due_us, replay=f"{self.seed:x}-{lap}")
        key = str(event[self.pipeline.event.key]).encode()
        poison = self._draws.random() < self.poison_share
        self.ledger.sent(
            event_id, due_us=due_us, label=self.source.label(index), key=key, expects=POISON_CAUSE if poison else ""
        )
        message = Message(key, POISON if poison else self.encode(event), (("event_id", event_id.encode()),))
        number = (murmur2(key) & 0x7FFFFFFF) % len(self._lanes)
        self._lanes[number].add(event_id, message)
        if not poison and self._draws.random() < self.again_share:
            again_us = due_us + int(self._draws.uniform(0.05, _AGAIN_WITHIN_S) * 1e6)
            heapq.heappush(self._again, (again_us, number, message, event_id))


class _Lane:
    """One partition's events: while one batch is under way, the next one gathers behind it."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number
        self.together: asyncio.TaskGroup | None = None
        self.gathered: deque[tuple[str, Message]] = deque()
        self.under_way = 0

    @property
    def waiting(self) -> int:
        return len(self.gathered) + self.under_way

    def add(self, event_id: str, message: Message) -> None:
        self.gathered.append((event_id, message))
        if not self.under_way and self.together is not None:
            self.under_way = 1
            self.together.create_task(self._send())

    async def _send(self) -> None:
        ledger, journal = self.load.ledger, self.load.journal
        while self.gathered:
            batch = list(self.gathered)
            self.gathered.clear()
            self.under_way = len(batch)
            topic = self.load.pipeline.topics.events
            first = await self.load._pen.write(topic, self.number, [message for _, message in batch])  # noqa: SLF001 - a lane is a part of its load
            for offset, (event_id, _) in enumerate(batch, start=first):
                ledger.acknowledged(event_id, self.number, offset)
            await asyncio.to_thread(journal.note, [(event_id, ledger.entries[event_id]) for event_id, _ in batch])
        self.under_way = 0
