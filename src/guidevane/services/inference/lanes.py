"""Calls on their way to one deployment: as many as keep its replicas busy, and what waits meanwhile goes together.

A room asks all members about the same batch, but they differ in speed and in replicas. What is cut small, so that the
many replicas of a slow member share it, would take the few replicas of a quick one a call each; here they are put
together again, as large as batches may be.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from guidevane.services.inference.members import Answer, MemberFailed, Vectors
from guidevane.services.inference.replica import Said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.clock import Clock

Caller = Callable[[tuple[str, ...], Vectors], Awaitable[Mapping[str, Said]]]
_LEARNS = 0.1
"""How much of what is believed of a deployment's times one call changes."""


@dataclass(slots=True, eq=False)
class _Asked:
    """One matrix: who is asked about it, how many still wait, and what is said of it."""

    matrix: Vectors
    names: list[str] = field(default_factory=list)
    waiting: int = 0
    said: asyncio.Future[Mapping[str, Answer | MemberFailed]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Lane:
    """Asks the members of one deployment through ``call``, which may raise anything.

    ``replicas`` tells how many there are, 0 where that is not known: then nothing waits. ``most`` tells how large a
    batch may be: nothing is put together until somebody sets it.

    Members that are asked about one matrix at once are asked in one call. Calls that were put together and failed are
    made again, each alone, so that rows which break a member cost nobody else an answer.
    """

    def __init__(self, call: Caller, clock: Clock, replicas: Callable[[], int]) -> None:
        self.most: Callable[[], int] = lambda: 0
        self._call = call
        self._clock = clock
        self._replicas = replicas
        self._gathering: dict[int, _Asked] = {}
        self._queue: deque[_Asked] = deque()
        self._under_way: dict[asyncio.Task[None], Sequence[_Asked]] = {}
        self._way_s = 0.0
        self._busy_s = 0.0

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the member's answer. Raises ``MemberFailed``, and what the call raises."""
        # The matrix lives as long as somebody asks about it, so nothing else has its identity meanwhile.
        asked = self._gathering.get(id(matrix))
        if asked is None:
            asked = self._gathering[id(matrix)] = _Asked(matrix)
            # Runs after all who ask in this turn of the loop have added their names.
            asyncio.get_running_loop().call_soon(self._gathered, asked)
        asked.names.append(member)
        asked.waiting += 1
        try:
            answer = (await asyncio.shield(asked.said))[member]
        finally:
            asked.waiting -= 1
            if not asked.waiting:
                self._forget(asked)
        if isinstance(answer, MemberFailed):
            raise answer
        return answer

    def _gathered(self, asked: _Asked) -> None:
        # Whoever comes now begins another call.
        del self._gathering[id(asked.matrix)]
        if asked.waiting:
            self._queue.append(asked)
            self._send_off()

    def _send_off(self) -> None:
        while self._queue and (free := self._calls - len(self._under_way)) > 0:
            self._send(self._next(free))

    @property
    def _calls(self) -> float:
        """How many calls may be under way: computed, travelling meanwhile (Little's law), and one that is ready."""
        replicas = self._replicas()
        if not replicas or not self._busy_s:
            return math.inf
        return 1 + max(round(replicas * (1.0 + self._way_s / self._busy_s)), replicas)

    def _next(self, free: float) -> list[_Asked]:
        """Take the next call out of the queue: of the same members, and where several may leave, its share."""
        waiting = sum(len(each.matrix) for each in self._queue)
        most = min(self.most(), math.ceil(waiting / free))
        together = [self._queue.popleft()]
        rows = len(together[0].matrix)
        while (
            self._queue
            and self._queue[0].names == together[0].names
            and rows + len(self._queue[0].matrix) <= most
        ):  # fmt: skip
            together.append(self._queue.popleft())
            rows += len(together[-1].matrix)
        return together

    def _send(self, together: Sequence[_Asked]) -> None:
        task = asyncio.create_task(self._carry(together))
        self._under_way[task] = together
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._send_off()

    async def _carry(self, together: Sequence[_Asked]) -> None:
        """Make one call for all of these, and hand on what each asked for."""
        matrices = [each.matrix for each in together]
        try:
            said = await self._timed(tuple(together[0].names), matrices)
        except MemberFailed as failed:
            if len(together) > 1:
                await self._alone(together)
            else:
                _raise(together, failed)
        except Exception as raised:  # noqa: BLE001 - whoever asked is told
            _raise(together, raised)
        else:
            if len(together) > 1 and any(each.scores is None for each in said.values()):
                await self._alone(together)
            else:
                _answer(together, said)

    async def _alone(self, together: Sequence[_Asked]) -> None:
        await asyncio.gather(*(self._carry([each]) for each in together if each.waiting))

    async def _timed(self, names: tuple[str, ...], matrices: Sequence[Vectors]) -> Mapping[str, Said]:
        """Make one call; learn how long it computed, and how long it was on its way where it found a replica free."""
        found_one = len(self._under_way) <= self._replicas()
        sent_s = self._clock.monotonic_s()
        said = await self._call(names, matrices[0] if len(matrices) == 1 else np.concatenate(matrices))
        busy_s = sum(each.busy_s for each in said.values())
        self._busy_s += _LEARNS * (busy_s - self._busy_s) if self._busy_s else busy_s
        if found_one:
            self._way_s += _LEARNS * (max(self._clock.monotonic_s() - sent_s - busy_s, 0.0) - self._way_s)
        return said

    def _forget(self, asked: _Asked) -> None:
        """Nobody waits for it any more: it leaves the queue, and a call that nobody else waits for ends."""
        if asked.said.done():
            return
        if asked in self._queue:
            self._queue.remove(asked)
        for task, together in self._under_way.items():
            if asked in together and not any(each.waiting for each in together):
                task.cancel()


def _answer(together: Sequence[_Asked], said: Mapping[str, Said]) -> None:
    """Hand each its own rows; the first that still waits computed the batch, the others rode along."""
    batch, begin, rode_along = sum(len(each.matrix) for each in together), 0, False
    for each in together:
        rows = slice(begin, begin + len(each.matrix))
        if each.waiting:
            each.said.set_result({name: _of(one, rows, batch, rode_along=rode_along) for name, one in said.items()})
            rode_along = True
        begin = rows.stop


def _of(said: Said, rows: slice, batch: int, *, rode_along: bool) -> Answer | MemberFailed:
    if said.scores is None:
        return MemberFailed(said.failed)
    return Answer(np.asarray(said.scores, dtype=np.float64)[rows], said.version, said.busy_s, batch, rode_along)


def _raise(together: Sequence[_Asked], raised: Exception) -> None:
    for each in together:
        if each.waiting:
            each.said.set_exception(raised)
