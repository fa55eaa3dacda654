"""The transactional mode: a flight's answers, its dead letters and its place are seen together, or never.

Each input partition has a *lane*: one transactional id, ``<group>-<topic>-<partition>``, and one
transaction at a time. Flights hand their answers over when all stages have spoken; the lane takes
whatever has gathered since its last transaction, writes it, and commits it with the place behind it.
So a transaction is open only while it is written, and under load transactions grow instead of queueing.

Who opens a lane fences whoever held it, *before* it reads place and outputs: from then on no other
process can change them unseen. That alone is why nothing is ever seen twice; the group's rebalancing
only decides who tries (decision 0005).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.errors import GuidevaneError
from guidevane.runtime.delivery import Delivery, Outbox
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping, Sequence
    from typing import Any

    from guidevane.clock import Clock
    from guidevane.log import Committed, Consumer, Log, Message, Partition, Transactions
    from guidevane.runtime.fence import Fence
    from guidevane.runtime.places import Place
    from guidevane.telemetry.metrics import Metrics

_CLOSE_WITHIN_S = 5.0


@dataclass(slots=True)
class _Letter:
    """One post of one flight. Awaited, gives its first offset once it is committed."""

    messages: Sequence[Message]
    done: asyncio.Future[None]
    offset: int = -1

    def __await__(self) -> Generator[Any, None, int]:
        yield from self.done.__await__()
        return self.offset


@dataclass(slots=True)
class _Draft:
    """What one flight says on one partition, by topic, and where the partition stands behind it."""

    end: int
    place: Place
    done: asyncio.Future[None]
    letters: dict[str, list[_Letter]] = field(default_factory=lambda: defaultdict(list))


class _Lane:
    """One partition's transactions, one after another; the first failure ends it."""

    def __init__(self, partition: Partition, producer: Transactions, mode: Transactional) -> None:
        self.partition = partition
        self.producer = producer
        self.mode = mode
        self._waiting: list[_Draft] = []
        self._some = asyncio.Event()
        self._open = False
        self._failed: BaseException | None = None
        self._task = asyncio.create_task(self._run())

    def put(self, draft: _Draft) -> None:
        """Take what a flight says, behind the flights before it."""
        if self._failed is not None:
            draft.done.set_exception(self._failed)
            return
        self._waiting.append(draft)
        self._some.set()

    async def _run(self) -> None:
        clock, next_s = self.mode.clock, 0.0
        while True:
            await self._some.wait()
            if (rest_s := next_s - clock.monotonic_s()) > 0:
                await asyncio.sleep(rest_s)
            self._some.clear()
            drafts, self._waiting = self._waiting, []
            next_s = clock.monotonic_s() + self.mode.every_s
            try:
                await self._transact(drafts)
            except asyncio.CancelledError:
                raise
            except BaseException as failed:  # noqa: BLE001 - whatever it is, the flights must learn of it
                self._failed = failed
                for draft in (*drafts, *self._waiting):
                    if not draft.done.done():
                        draft.done.set_exception(failed)
                return

    async def _transact(self, drafts: Sequence[_Draft]) -> None:
        """Write what the drafts say, each topic in one go; commit it with the place behind the last of them."""
        started_s = self.mode.clock.monotonic_s()
        self.mode.fence.check()
        self._open = True
        await self.producer.begin()
        by_topic: dict[str, list[_Letter]] = defaultdict(list)
        for draft in drafts:
            for topic, letters in draft.letters.items():
                by_topic[topic].extend(letters)
        posted = []
        for topic, letters in by_topic.items():
            messages = [message for letter in letters for message in letter.messages]
            posted.append(await self.producer.post(topic, self.partition.number, messages))
        outputs: dict[str, int] = {}
        for (topic, letters), first in zip(by_topic.items(), await asyncio.gather(*posted), strict=True):
            outputs[topic] = first
            for letter in letters:
                letter.offset = outputs[topic]
                outputs[topic] += len(letter.messages)
        place = drafts[-1].place
        place.advance(drafts[-1].end, outputs)
        self.mode.fence.check()
        await self.producer.commit(self.mode.group, {self.partition: place.committed()})
        self._open = False
        for draft in drafts:
            if not draft.done.done():
                draft.done.set_result(None)
        self.mode.metrics.observe(names.COMMIT_DURATION_SECONDS, self.mode.clock.monotonic_s() - started_s)

    async def close(self) -> None:
        """Stop; abort what is open, so that readers need not wait for its time to be over."""
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(GuidevaneError, TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                if self._open and self._failed is None:
                    await self.producer.abort()
        with suppress(GuidevaneError, TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self.producer.close()


class _Outbox(Outbox):
    """Keeps what a flight says until it is whole."""

    atomic = True

    def __init__(self, drafts: dict[Partition, _Draft], lanes: Mapping[Partition, _Lane]) -> None:
        self._drafts = drafts
        self._lanes = lanes
        self._by_number = {partition.number: draft for partition, draft in drafts.items()}

    async def post(self, topic: str, number: int, messages: Sequence[Message]) -> Awaitable[int]:
        draft = self._by_number[number]
        letter = _Letter(messages, draft.done)
        draft.letters[topic].append(letter)
        return letter

    async def seal(self) -> None:
        for partition, draft in self._drafts.items():
            self._lanes[partition].put(draft)
        await asyncio.gather(*(draft.done for draft in self._drafts.values()))


class Transactional(Delivery):
    """A lane for each owned partition. ``every_s`` is the least time between two transactions of a lane."""

    def __init__(
        self,
        log: Log,
        *,
        group: str,
        instance: str,
        clock: Clock,
        fence: Fence,
        metrics: Metrics,
        every_s: float,
        timeout_s: float,
    ) -> None:
        self.log = log
        self.group = group
        self.instance = instance
        self.clock = clock
        self.fence = fence
        self.metrics = metrics
        self.every_s = every_s
        self.timeout_s = timeout_s
        self._lanes: dict[Partition, _Lane] = {}
        self._era = 0

    async def own(self, partitions: Sequence[Partition]) -> None:
        """Open the lanes, all at once: whoever held them is fenced, and what they had open is aborted."""
        era = self._era
        opened = await asyncio.gather(*map(self._open, partitions), return_exceptions=True)
        lanes = {p: made for p, made in zip(partitions, opened, strict=True) if not isinstance(made, BaseException)}
        failed = next((each for each in opened if isinstance(each, BaseException)), None)
        if failed is not None or era != self._era:
            await asyncio.gather(*(producer.close() for producer in lanes.values()), return_exceptions=True)
            if failed is not None:
                raise failed
            return
        self._lanes |= {partition: _Lane(partition, producer, self) for partition, producer in lanes.items()}

    async def _open(self, partition: Partition) -> Transactions:
        transactional_id = f"{self.group}-{partition.topic}-{partition.number}"
        name = f"{self.instance}-{partition.number}"
        return await self.log.transactions(transactional_id, name=name, timeout_s=self.timeout_s)

    def outbox(self, ends: Mapping[Partition, int], places: Mapping[Partition, Place]) -> Outbox:
        """Return an outbox that hands the flight to the lanes of its partitions when it is sealed."""
        loop = asyncio.get_running_loop()
        drafts = {partition: _Draft(end, places[partition], loop.create_future()) for partition, end in ends.items()}
        return _Outbox(drafts, self._lanes)

    async def remember(self, told: Sequence[tuple[str, int, Sequence[Message]]]) -> None:
        """Do nothing: it was committed with the answers."""

    async def commit(self, consumer: Consumer, places: Mapping[Partition, Committed]) -> None:
        """Do nothing: the places were committed with the answers."""

    async def disown(self) -> None:
        """Drop all lanes, and what has not been committed."""
        self._era += 1
        lanes, self._lanes = self._lanes, {}
        await asyncio.gather(*(lane.close() for lane in lanes.values()))

    async def settled(self, within_s: float) -> bool:
        """Return at once: who owns a partition next fences its lane, and what that had open is seen by nobody."""
        del within_s
        return True

    async def close(self) -> None:
        """Drop all lanes."""
        await self.disown()
