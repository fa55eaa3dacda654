"""Sending events when they are due, whatever becomes of them: an open loop."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from guidevane.log import Message
from guidevane.log.murmur import murmur2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.demo.ledger import Ledger
    from guidevane.log import Producer
    from guidevane.pipeline import Pipeline

_TICK_S = 0.002


class Source(Protocol):
    """Where a demo's events come from: a pipeline's own recorded data."""

    def __len__(self) -> int:
        """Return how many different events there are; a replay goes round when it needs more."""
        ...

    def event(self, index: int, *, lap: int = 0, observed_at_us: int | None = None) -> dict[str, Any]:
        """Return one event; each lap has event ids of its own."""
        ...

    def event_id(self, index: int, *, lap: int = 0) -> str:
        """Return its id."""
        ...

    def label(self, index: int) -> float:
        """Return what turned out to be true."""
        ...


def poisson(rate_per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return arrival times in seconds from 0: a Poisson process, which independent producers make together.

    >>> times = poisson(100.0, 10.0, seed=1)
    >>> bool((np.diff(times) >= 0).all()), 900 < len(times) < 1100, times[-1] < 10.0
    (True, True, True)
    """
    draws = np.random.default_rng(seed)
    gaps = draws.exponential(1 / rate_per_s, size=int(rate_per_s * seconds * 1.2) + 100)
    times = np.cumsum(gaps)
    return times[times < seconds]


@dataclass(slots=True, kw_only=True)
class Replay:
    """Sends a source's events at given times, and their labels some time later."""

    pipeline: Pipeline
    source: Source
    producer: Producer
    encode: Callable[[Mapping[str, Any]], bytes]
    encode_label: Callable[[Mapping[str, Any]], bytes]
    ledger: Ledger
    clock: Clock
    label_delay_s: float = 2.0
    run: int = 0
    sent: int = 0
    behind_s: float = 0.0

    async def play(self, times_s: NDArray[np.float64]) -> None:
        """Send each event when it is due; return when Kafka has acknowledged all of them, labels too."""
        start_us = self.clock.now_us()
        due_us = start_us + (times_s * 1e6).astype(np.int64)
        label_us = due_us + int(self.label_delay_s * 1e6)
        sent = labelled = 0
        under_way: set[asyncio.Task[None]] = set()
        while labelled < len(due_us):
            now_us = self.clock.now_us()
            upto = int(np.searchsorted(due_us, now_us, side="right"))
            labels_upto = min(int(np.searchsorted(label_us, now_us, side="right")), sent)
            if upto > sent:
                self.behind_s = (now_us - int(due_us[sent])) / 1e6
                under_way.add(asyncio.create_task(self._send(range(sent, upto), due_us)))
                sent = upto
            if labels_upto > labelled:
                under_way.add(asyncio.create_task(self._label(range(labelled, labels_upto))))
                labelled = labels_upto
            for task in [task for task in under_way if task.done()]:
                under_way.discard(task)
                task.result()
            await asyncio.sleep(_TICK_S)
        await asyncio.gather(*under_way)

    async def _send(self, which: range, due_us: NDArray[np.int64]) -> None:
        topic, key_field = self.pipeline.topics.events, self.pipeline.event.key
        batches: dict[int, list[Message]] = defaultdict(list)
        told: dict[int, list[tuple[str, int, float]]] = defaultdict(list)
        for i in which:
            lap, index = divmod(i, len(self.source))
            lap += self.run * 1_000_000
            event = self.source.event(index, lap=lap, observed_at_us=int(due_us[i]))
            event_id = self.source.event_id(index, lap=lap)
            key = str(event[key_field]).encode()
            number = (murmur2(key) & 0x7FFFFFFF) % self.pipeline.partitions
            batches[number].append(Message(key, self.encode(event), (("event_id", event_id.encode()),)))
            told[number].append((event_id, int(due_us[i]), self.source.label(index)))
        # In the ledger before it is sent: a decision may be read before our acknowledgement is.
        for rows in told.values():
            for event_id, due, label in rows:
                self.ledger.sent(event_id, due_us=due, label=label)
        await self._write(topic, batches)
        self.sent += len(which)

    async def _label(self, which: range) -> None:
        topic = self.pipeline.topics.labels
        batches: dict[int, list[Message]] = defaultdict(list)
        for i in which:
            lap, index = divmod(i, len(self.source))
            event_id = self.source.event_id(index, lap=lap + self.run * 1_000_000)
            key = event_id.encode()
            body = {"event_id": event_id, "label": self.source.label(index), "observed_at_us": self.clock.now_us()}
            number = (murmur2(key) & 0x7FFFFFFF) % self.pipeline.partitions
            batches[number].append(Message(key, self.encode_label(body)))
        await self._write(topic, batches)

    async def _write(self, topic: str, batches: Mapping[int, list[Message]]) -> None:
        posted = [await self.producer.post(topic, number, messages) for number, messages in batches.items()]
        for each in posted:
            await each
