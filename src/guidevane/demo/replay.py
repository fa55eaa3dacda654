"""Sending events when they are due, whatever becomes of them: an open loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from guidevane.log import Message
from guidevane.log.murmur import murmur2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.ledger import Ledger
    from guidevane.log import Producer
    from guidevane.pipeline import Pipeline

# As a producer that lingers for a few milliseconds. What an event waits here counts as latency.
_TICK_S = 0.010
_LABEL_TICK_US = 100_000


class Source(Protocol):
    """Where a demo's events come from: a pipeline's own recorded data."""

    def __len__(self) -> int:
        """Return how many different events there are; a replay goes round when it needs more."""
        ...

    def event(self, index: int, *, event_id: str, observed_at_us: int, replay: str) -> dict[str, Any]:
        """Return one event under this id, observed at this time.

        ``replay`` is another name each time that the data begin anew: time in them goes back then, and what looks at
        earlier events of a key needs another key.
        """
        ...

    def label(self, index: int) -> float:
        """Return what turned out to be true."""
        ...

    def label_delay_s(self, rate_per_s: float) -> float:
        """Return how long after its event a label comes, where that many events come a second."""
        ...


def poisson(rate_per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return arrival times in seconds from 0: a Poisson process, which independent producers make together.

    >>> times = poisson(100.0, 10.0, seed=1)
    >>> bool((np.diff(times) >= 0).all()), 900 < len(times) < 1100, float(times[-1]) < 10.0
    (True, True, True)
    """
    draws = np.random.default_rng(seed)
    gaps = draws.exponential(1 / rate_per_s, size=int(rate_per_s * seconds * 1.2) + 100)
    times = np.cumsum(gaps)
    return times[times < seconds]


def tripling(rate_per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return arrival times in seconds from 0: Poisson, and from halfway on three times as many.

    >>> times = tripling(100.0, 20.0, seed=1)
    >>> bool(2.5 < (times >= 10.0).sum() / (times < 10.0).sum() < 3.5)
    True
    """
    half_s = seconds / 2
    return np.concatenate((poisson(rate_per_s, half_s, seed), half_s + poisson(3 * rate_per_s, half_s, seed + 1)))


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
    began_us: int = 0

    async def play(self, times_s: NDArray[np.float64]) -> None:
        """Send each event when it is due; return when Kafka has acknowledged all of them, labels too."""
        topics = self.pipeline.topics
        start_us = self.began_us = self.clock.now_us()
        due_us = start_us + (times_s * 1e6).astype(np.int64)
        label_us = due_us + int(self.label_delay_s * 1e6)
        sent = labelled = labelled_us = 0
        async with asyncio.TaskGroup() as together:
            lanes = [_Lane(self.producer, together) for _ in range(self.pipeline.partitions)]
            label_lanes = [_Lane(self.producer, together) for _ in range(self.pipeline.partitions)]
            while labelled < len(due_us):
                now_us = self.clock.now_us()
                for i in range(sent, int(np.searchsorted(due_us, now_us, side="right"))):
                    self._event(i, int(due_us[i])).add_to(topics.events, lanes)
                    sent = i + 1
                if now_us - labelled_us >= _LABEL_TICK_US:
                    labelled_us = now_us
                    for i in range(labelled, min(int(np.searchsorted(label_us, now_us, side="right")), sent)):
                        self._label(i, now_us).add_to(topics.labels, label_lanes)
                        labelled = i + 1
                await asyncio.sleep(_TICK_S)
        self.sent = sent

    def _event(self, i: int, due_us: int) -> _Keyed:
        (lap, index), event_id = divmod(i, len(self.source)), self._id(i)
        event = self.source.event(index, event_id=event_id, observed_at_us=due_us, replay=f"{self.run:x}-{lap}")
        # In the ledger before it is sent: a decision may be read before our acknowledgement is.
        self.ledger.sent(event_id, due_us=due_us, label=self.source.label(index))
        key = str(event[self.pipeline.event.key]).encode()
        return _Keyed(key, Message(key, self.encode(event), (("event_id", event_id.encode()),)))

    def _label(self, i: int, now_us: int) -> _Keyed:
        event_id = self._id(i)
        body = {"event_id": event_id, "label": self.source.label(i % len(self.source)), "observed_at_us": now_us}
        return _Keyed(event_id.encode(), Message(event_id.encode(), self.encode_label(body)))

    def _id(self, i: int) -> str:
        return f"{self.run:x}-{i}"


@dataclass(frozen=True, slots=True)
class _Keyed:
    key: bytes
    message: Message

    def add_to(self, topic: str, lanes: list[_Lane]) -> None:
        number = (murmur2(self.key) & 0x7FFFFFFF) % len(lanes)
        lanes[number].add(topic, number, self.message)


class _Lane:
    """One partition's messages: while one batch is under way, the next one gathers behind it."""

    def __init__(self, producer: Producer, together: asyncio.TaskGroup) -> None:
        self._producer = producer
        self._together = together
        self._gathered: list[Message] = []
        self._going = False

    def add(self, topic: str, number: int, message: Message) -> None:
        self._gathered.append(message)
        if not self._going:
            self._going = True
            self._together.create_task(self._send(topic, number))

    async def _send(self, topic: str, number: int) -> None:
        try:
            while self._gathered:
                batch, self._gathered = self._gathered, []
                await self._producer.send(topic, number, batch)
        finally:
            self._going = False
