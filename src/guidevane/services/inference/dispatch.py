"""Batches on their way to the members: so many at once, and what waits meanwhile is gathered into the next.

Batches of several flights are joined while none can leave, so that they grow with the load; each flight gets its own
answers in its own order.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from guidevane.control.ladder import Choice
from guidevane.services.inference.triage import BY_SLACK
from guidevane.services.inference.waiting import Queue, Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.clock import Clock
    from guidevane.services.inference.expecting import Call
    from guidevane.services.inference.triage import Triage

T = TypeVar("T", bound=Waiting)
R = TypeVar("R")
T_contra = TypeVar("T_contra", bound=Waiting, contravariant=True)
R_co = TypeVar("R_co", covariant=True)
# How often what waits is looked through while nothing can leave, for what can wait no longer.
_LOOK_S = 0.005
_FULL, _RULE, _SHED = Choice("full"), Choice("rule"), Choice("shed")


class Serve(Protocol[T_contra, R_co]):
    """Asks members, or nobody, about some that waited."""

    async def asked(self, items: Sequence[T_contra], choice: Choice, call: Call) -> Sequence[R_co]:
        """Return one answer each; learn from ``call`` how long it took."""
        ...

    def unasked(self, items: Sequence[T_contra], choice: Choice) -> Sequence[R_co]:
        """Return one answer each for those that go without: ``rule`` or ``shed``."""
        ...


@dataclass(slots=True, eq=False)
class _Asked(Generic[T, R]):
    """One flight's question: its items, and their answers as they come."""

    items: Sequence[T]
    answers: list[R | None]
    open: int
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Dispatch(Generic[T, R]):
    """Gives each item that is asked about one answer."""

    def __init__(self, serve: Serve[T, R], triage: Triage, clock: Clock) -> None:
        self._serve = serve
        self._triage = triage
        self._clock = clock
        self._waiting: Queue[tuple[_Asked[T, R], int]] = Queue()
        self._under_way: dict[asyncio.Task[None], list[tuple[_Asked[T, R], int]]] = {}
        self._direct = 0
        # While nothing could leave: when what waits was looked through last.
        self._shut_s: float | None = None

    async def answer(self, items: Sequence[T]) -> Sequence[R | None]:
        """Return one answer an item, in order. Raises what serving them raised."""
        triage = self._triage
        size = max(triage.size(len(items), under_way=self._busy), 1)
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        last = self._busy + len(batches) - 1
        if triage.knobs.level < BY_SLACK and not self._waiting and triage.free(last):
            # Nobody waits and nothing is left out: straight through.
            self._direct += len(batches)
            calls = [self._call(len(batch), _FULL) for batch in batches]
            try:
                found = await asyncio.gather(
                    *(self._serve.asked(batch, _FULL, call) for batch, call in zip(batches, calls, strict=True))
                )
            finally:
                self._direct -= len(batches)
                for call in calls:
                    triage.expecting.back(call, self._clock.monotonic_s())
                self._shut_s = None
                self._send_off()
            return [answer for batch in found for answer in batch]
        asked: _Asked[T, R] = _Asked(items, [None] * len(items), len(items))
        if items:
            self._waiting.add(items, [(asked, place) for place in range(len(items))])
            self._send_off()
            self._waiting.stand()
            try:
                await asked.done
            finally:
                self._forget(asked)
        return asked.answers

    @property
    def _busy(self) -> int:
        return len(self._under_way) + self._direct

    def _send_off(self) -> None:
        """Send what may leave, answer what can wait no longer."""
        while self._waiting:
            now_s = self._clock.monotonic_s()
            # With nothing under way nobody would look again.
            if self._busy and self._shut_s is not None and now_s - self._shut_s < _LOOK_S:
                return
            if self._triage.knobs.level < BY_SLACK:
                # As they came: nobody is looked at, however many wait.
                rows = self._triage.next(len(self._waiting), under_way=self._busy)
                if not rows:
                    self._shut_s = now_s
                    return
                self._leave(self._waiting.leave(self._waiting.first(rows)), _FULL)
                continue
            picked = self._triage(self._waiting, self._clock.now_us(), now_s, under_way=self._busy)
            leaving = self._waiting.leave([*picked.batch, *picked.rule, *picked.shed])
            batch, without = leaving[: len(picked.batch)], leaving[len(picked.batch) :]
            for choice, theirs in ((_RULE, without[: len(picked.rule)]), (_SHED, without[len(picked.rule) :])):
                if theirs:
                    answers = self._serve.unasked([asked.items[place] for asked, place in theirs], choice)
                    for each, answer in zip(theirs, answers, strict=True):
                        self._settle(each, answer)
            if not batch:
                self._shut_s = now_s
                return
            self._leave(batch, picked.choice)

    def _leave(self, batch: list[tuple[_Asked[T, R], int]], choice: Choice) -> None:
        # Noted before the task begins: what is picked next must know of it.
        call = self._call(len(batch), choice)
        task = asyncio.create_task(self._carry(batch, choice, call))
        self._under_way[task] = batch
        task.add_done_callback(functools.partial(self._landed, call))

    def _call(self, rows: int, choice: Choice) -> Call:
        triage = self._triage
        return triage.expecting.send(choice.members or triage.ensemble.names, rows, self._clock.monotonic_s())

    def _landed(self, call: Call, task: asyncio.Task[None]) -> None:
        self._triage.expecting.back(call, self._clock.monotonic_s())
        del self._under_way[task]
        self._shut_s = None
        self._send_off()

    async def _carry(self, batch: Sequence[tuple[_Asked[T, R], int]], choice: Choice, call: Call) -> None:
        """Ask about a batch; where that fails, ask for each flight alone, so that it fails only its own."""
        flights = {id(asked): asked for asked, _ in batch}
        try:
            await self._ask(batch, choice, call)
        except Exception as raised:  # noqa: BLE001 - whose it is, gets it
            if len(flights) == 1:
                _fail(batch[0][0], raised)
                return
            for flight in flights.values():
                own = [each for each in batch if each[0] is flight]
                try:
                    await self._ask(own, choice, call)
                except Exception as its_own:  # noqa: BLE001 - likewise
                    _fail(flight, its_own)

    async def _ask(self, batch: Sequence[tuple[_Asked[T, R], int]], choice: Choice, call: Call) -> None:
        answers = await self._serve.asked([asked.items[place] for asked, place in batch], choice, call)
        for each, answer in zip(batch, answers, strict=True):
            self._settle(each, answer)

    def _settle(self, each: tuple[_Asked[T, R], int], answer: R) -> None:
        asked, place = each
        asked.answers[place] = answer
        asked.open -= 1
        if not asked.open and not asked.done.done():
            asked.done.set_result(None)

    def _forget(self, asked: _Asked[T, R]) -> None:
        """Nobody waits for a flight any more: what is left of it is asked about no further."""
        if not asked.open:
            return
        self._waiting.leave_where(lambda owner: owner[0] is asked)
        for task, batch in self._under_way.items():
            if all(other.done.done() or other is asked for other, _ in batch):
                task.cancel()


def _fail(asked: _Asked[T, R], raised: Exception) -> None:
    if not asked.done.done():
        asked.done.set_exception(raised)
