"""Between the room and its members: one event that breaks a member costs that event, and nobody else.

A member that is late may be slow, or hung, or gone. Who is slow goes on answering calls that began earlier: the batch
is decided without it. Who is *silent* is doubted: no other batch is sent there until it answers a row that it has
answered before, so that everything else goes on, degraded, at once. The batches that it was silent on are held, their
rows are tried alone by a judge (a copy that nobody depends on), and those that end or hang it are told apart from
their innocents. So a killer costs at most two of the replicas that serve and one copy, and never comes again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from guidevane.errors import Retryable
from guidevane.runtime.retry import Backoff
from guidevane.services.inference.members import (
    Answer,
    Blame,
    Isolated,
    Judge,
    MemberDied,
    MemberFailed,
    Members,
    Vectors,
    ask_isolating,
    isolate,
    probable,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.clock import Clock

_log = logging.getLogger(__name__)
_DEATHS = 2
# Who is silent for this many times as long as an answer usually takes is not slow.
_UNUSUAL = 4.0
_FADES = 0.9
# How long the innocents of a judged batch wait for the member to come back.
_BACK_S = 5.0

Missing = Literal["late", "away", "skipped", "broken"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of asking: an answer, rows that the member is not to blame for, or why there is nothing."""

    answer: Answer | None = None
    reasons: Mapping[int, Blame] = field(default_factory=dict)
    missing: Missing | None = None


@dataclass(slots=True)
class _Watch:
    """What is known of one member.

    ``calls`` are those in flight by number; each is set when it is answered, or given up as slow. ``usual_s`` is the
    longest that an answer took lately, way and queue included: on a busy machine they take longer than a small model.
    ``answered_s`` is when the last one came.
    """

    numbers: int = 0
    calls: dict[int, asyncio.Event] = field(default_factory=dict)
    here: asyncio.Event = field(default_factory=asyncio.Event)
    control: Vectors | None = None
    usual_s: float = 0.0
    answered_s: float = 0.0
    recovering: asyncio.Task[None] | None = None
    broken: bool = False

    def answer(self, number: int, now_s: float, took_s: float = 0.0) -> None:
        self.here.set()
        self.calls[number].set()
        self.answered_s = now_s
        self.usual_s = max(took_s, _FADES * self.usual_s)


class Guard:
    """Asks members on behalf of a room. ``stuck_s`` says for each how long one call may compute before it hangs."""

    def __init__(
        self,
        members: Members,
        stuck_s: Mapping[str, float],
        *,
        clock: Clock,
        judge: Judge | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.members = members
        self.judge = judge
        self.clock = clock
        self.backoff = backoff or Backoff(0.2, 2.0)
        self._stuck_s = stuck_s
        self._watches = {member: _Watch() for member in stuck_s}
        for watch in self._watches.values():
            watch.here.set()

    async def ask(self, member: str, matrix: Vectors, wait_s: float) -> Heard:
        """Return what the member says of float32[n, d] within ``wait_s``, or after that if it is found to be stuck."""
        watch = self._watches[member]
        if not watch.here.is_set():
            return Heard(missing="skipped")
        number = watch.numbers = watch.numbers + 1
        watch.calls[number] = asyncio.Event()
        asked_s = self.clock.monotonic_s()
        try:
            answer = await self._answer(member, matrix, number, wait_s)
            if answer is None:
                watch.calls[number].set()
                return Heard(missing="late")
            now_s = self.clock.monotonic_s()
            watch.answer(number, now_s, now_s - asked_s)
        except MemberFailed as failed:
            watch.answer(number, self.clock.monotonic_s())
            return await self._isolated(member, matrix, failed)
        except MemberDied:
            return await self._judged(member, matrix)
        except Retryable:
            return Heard(missing="away")
        finally:
            del watch.calls[number]
        return await self._weighed(member, matrix, Isolated(answer, {}))

    async def _answer(self, member: str, matrix: Vectors, number: int, wait_s: float) -> Answer | None:
        """Return the answer, or ``None`` where the member is slow; ``MemberDied`` also says that it hangs."""
        sent_s = self.clock.monotonic_s()
        due_s = sent_s + wait_s
        for attempt in range(1, _DEATHS + 1):
            asking = asyncio.create_task(self.members.ask(member, matrix))
            try:
                await asyncio.wait({asking}, timeout=max(0.0, due_s - self.clock.monotonic_s()))
                if not asking.done() and await self._slow(member, matrix, number, asking, attempt, sent_s):
                    return None
                return asking.result()
            except MemberDied as died:
                # A fault took it, most likely. Scoring has no memory: another replica may be asked.
                if attempt == _DEATHS or self.clock.monotonic_s() >= due_s:
                    self._doubt(member, matrix.shape[1], str(died))
                    raise
            finally:
                asking.cancel()
        raise AssertionError("the last death is raised")

    async def _slow(
        self, member: str, matrix: Vectors, number: int, asking: asyncio.Task[Answer], attempt: int, sent_s: float
    ) -> bool:
        """Wait for a call that is late: tell whether the member is slow; raise ``MemberDied`` where it is not."""
        watch = self._watches[member]
        ahead = [call for other, call in watch.calls.items() if other < number and not call.is_set()]
        earlier = [asyncio.create_task(call.wait()) for call in ahead]
        if not earlier:
            if attempt == 1 and self.clock.monotonic_s() - max(sent_s, watch.answered_s) < _UNUSUAL * watch.usual_s:
                return True
            # Nobody stands before this call: it is computed, or lost.
            self._doubt(member, matrix.shape[1], "is silent")
        try:
            # One that has died already had its time.
            patience_s = self._stuck_s[member] if attempt == 1 else 0.0
            await asyncio.wait({asking, *earlier}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return False
            if any(call.done() for call in earlier):
                return True
        finally:
            for call in earlier:
                call.cancel()
        self._doubt(member, matrix.shape[1], "hangs")
        raise MemberDied(f"{member} hangs")

    async def _isolated(self, member: str, matrix: Vectors, failed: MemberFailed) -> Heard:
        try:
            if not await self._well(member, matrix.shape[1]):
                # It fails on what it has answered before: halving would find everybody guilty.
                self._note(member, str(failed), well=False)
                return Heard(None, {row: Blame("model_failed", str(failed)) for row in range(len(matrix))}, "broken")
            isolated = await isolate(self.members, member, matrix, failed)
        except (Retryable, TimeoutError) as away:
            # It went while it was asked again: because of this batch, or of another.
            self._doubt(member, matrix.shape[1], f"{away}" or "is silent")
            return await self._judged(member, matrix)
        return await self._weighed(member, matrix, isolated)

    async def _weighed(self, member: str, matrix: Vectors, isolated: Isolated) -> Heard:
        """Blame rows only where the member is well without them."""
        answer, reasons = isolated.answer, isolated.reasons
        watch = self._watches[member]
        good = probable(answer.scores) if answer is not None else np.zeros(len(matrix), dtype=np.bool_)
        if good[0]:
            watch.control = matrix[:1].copy()
        if answer is not None and not good.all():
            for row in np.flatnonzero(~good).tolist():
                says = f"{member}: its score is {answer.scores[row]:g}, no probability: return 0 to 1"
                reasons.setdefault(row, Blame("model_failed", says))
            # What is no score must not be joined with the others': it is as if nothing had come.
            answer = replace(answer, scores=np.where(good, answer.scores, np.nan))
        broken = False
        if reasons and not good.any():
            with suppress(Retryable, TimeoutError):
                broken = not await self._well(member, matrix.shape[1])
        self._note(member, next(iter(reasons.values())).says if broken else "", well=bool(good.any()))
        return Heard(answer, reasons, "broken" if broken else None)

    def _note(self, member: str, broken: str, *, well: bool) -> None:
        """Say once that a member is broken, and once that it is not any more."""
        watch = self._watches[member]
        if broken and not watch.broken:
            _log.error("%s is broken, and every decision goes without it: %s", member, broken)
            watch.broken = True
        elif well and watch.broken:
            _log.warning("%s is no longer broken", member)
            watch.broken = False

    async def _well(self, member: str, width: int) -> bool:
        """Tell whether the member still answers what it answered before, or zeros where it never answered anything.

        Raises ``Retryable`` or ``TimeoutError`` where nobody can tell.
        """
        try:
            async with asyncio.timeout(self._stuck_s[member]):
                answer = await self.members.ask(member, self._control(member, width))
        except MemberFailed:
            return False
        return bool(probable(answer.scores).all())

    def _control(self, member: str, width: int) -> Vectors:
        control = self._watches[member].control
        return control if control is not None else np.zeros((1, width), dtype=np.float32)

    async def _judged(self, member: str, matrix: Vectors) -> Heard:
        """Hold the batch until it is known which rows the member did not survive; ask again for the others."""
        if self.judge is None:
            return Heard(missing="away")
        try:
            blamed = dict(await self.judge.culprits(member, matrix))
        except Retryable as unsure:
            _log.warning("nobody can tell what %s did not survive: %s", member, unsure)
            return Heard(missing="away")
        for why in blamed.values():
            _log.warning("an event is set aside: %s", why.says)
        innocent = [row for row in range(len(matrix)) if row not in blamed]
        if not innocent:
            return Heard(reasons=blamed)
        try:
            async with asyncio.timeout(_BACK_S):
                await self._watches[member].here.wait()
                again = await ask_isolating(self.members, member, matrix[innocent])
        except (Retryable, TimeoutError):
            return Heard(reasons=blamed, missing="away")
        heard = await self._weighed(member, matrix[innocent], again)
        reasons = blamed | {innocent[row]: why for row, why in heard.reasons.items()}
        return Heard(spread([(innocent, heard.answer)], len(matrix)), reasons, heard.missing)

    def _doubt(self, member: str, width: int, why: str) -> None:
        watch = self._watches[member]
        if watch.here.is_set():
            _log.warning("%s %s: no batch is sent there until it answers", member, why)
            watch.here.clear()
        if watch.recovering is None or watch.recovering.done():
            watch.recovering = asyncio.create_task(self._recover(member, width))

    async def _recover(self, member: str, width: int) -> None:
        watch = self._watches[member]
        control = self._control(member, width)
        attempt = 0
        while not watch.here.is_set():
            try:
                async with asyncio.timeout(self._stuck_s[member]):
                    await self.members.ask(member, control)
            except MemberFailed:
                # Its process answers, whatever it says.
                break
            except (Retryable, TimeoutError):
                await asyncio.sleep(self.backoff.delay_s(attempt))
                attempt += 1
            else:
                break
        watch.here.set()
        _log.warning("%s answers again", member)
