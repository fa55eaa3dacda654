"""Topics that nobody waits for: what is written to them gathers for a moment, and goes out in few batches.

Fused stages hand their answers on in memory, and write them for the monitors and the audit. At
500 events/s a flight brings a partition one or two of each, and every batch has its own cost at
the client and the broker (docs/decisions/0009).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence

    from guidevane.log import Message, Producer
    from guidevane.runtime.fence import Fence


@dataclass(slots=True, eq=False)
class _Gathered:
    """What waits for one partition, and the offset of the first of it, once it is there."""

    messages: list[Message] = field(default_factory=list)
    offset: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True, eq=False)
class _Offset:
    """Awaited, gives the offset of the ``place``-th gathered message."""

    gathered: _Gathered
    place: int

    def __await__(self) -> Generator[object, None, int]:
        # A shield: one flight that is given up must not take the offset from the others.
        first = yield from asyncio.shield(self.gathered.offset).__await__()
        return first + self.place


class Lingering:
    """Posts for each partition at most once in ``linger_s``, or when ``most`` messages have gathered in all of them.

    Order holds, as in the producer. What is in flight is bounded, and what gathers is in flight: who has gathered much
    of it would have the room stand still until the time is up (decision 0041).

    After the first failure it posts nothing more until it is dropped: what came later would stand before what failed.
    """

    def __init__(self, producer: Producer, fence: Fence, *, linger_s: float = 0.5, most: int = 4096) -> None:
        self.producer = producer
        self.fence = fence
        self.linger_s = linger_s
        self.most = most
        self._count = 0
        self._enough = asyncio.Event()
        self._gathering: dict[tuple[str, int], _Gathered] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    def post(self, topic: str, number: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Take messages for a partition, behind those posted before; what is returned gives the first one's offset."""
        if self._broken is not None:
            lost = _Gathered()
            _fail([lost], self._broken)
            return _Offset(lost, 0)
        gathered = self._gathering.setdefault((topic, number), _Gathered())
        offset = _Offset(gathered, len(gathered.messages))
        gathered.messages.extend(messages)
        self._count += len(messages)
        if self._count >= self.most:
            self._enough.set()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return offset

    async def _flush(self) -> None:
        """Post what has gathered, again and again until nothing has: one task, so that no flush overtakes another."""
        while self._gathering:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.linger_s):
                    await self._enough.wait()
            batch = self._taken()
            try:
                # We may have stood still for longer than anyone waits for us.
                self.fence.check()
                acks = [
                    (gathered, await self.producer.post(topic, number, gathered.messages))
                    for (topic, number), gathered in batch.items()
                ]
                for gathered, ack in acks:
                    gathered.offset.set_result(await ack)
            except asyncio.CancelledError:
                for gathered in batch.values():
                    gathered.offset.cancel()
                raise
            except BaseException as trouble:  # noqa: BLE001 - whatever it is, it is raised in each flight that waits
                self._broken = trouble
                _fail([*batch.values(), *self._taken().values()], trouble)

    def _taken(self) -> dict[tuple[str, int], _Gathered]:
        """Return what has gathered; from now on something else does."""
        batch, self._gathering = self._gathering, {}
        self._count = 0
        self._enough.clear()
        return batch

    def drop(self) -> None:
        """Forget what has gathered: whoever owns the partitions now does it again."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        for gathered in self._taken().values():
            gathered.offset.cancel()
        self._broken = None


def _fail(several: Sequence[_Gathered], trouble: BaseException) -> None:
    for gathered in several:
        if not gathered.offset.done():
            gathered.offset.set_exception(trouble)
            # Whose flight was given up does not ask any more.
            gathered.offset.exception()
