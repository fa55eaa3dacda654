"""The judge of events that members do not survive: a copy of the member in a Ray actor of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from guidevane.errors import Retryable
from guidevane.services.inference.members import Blame, Vectors
from guidevane.services.inference.replica import MemberReplica, specs

if TYPE_CHECKING:
    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.replica import MemberSpec

_log = logging.getLogger(__name__)
# The batches that wait for a verdict hold up what comes behind them: without one, they are decided without the member.
_START_WITHIN_S = 20.0
_PING_S = 1.0
# A copy holds its frameworks in memory; the next trial may be near, or never.
_KEEP_S = 300.0


class RayJudge:
    """Tries rows one at a time on a copy of the member, started when first needed, on the CPU, beside the replicas."""

    def __init__(self, pipeline: Pipeline, *, keep_s: float = _KEEP_S) -> None:
        self._pipeline = pipeline
        self._keep_s = keep_s
        self._copies: dict[str, Any] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._endings: dict[str, asyncio.TimerHandle] = {}

    async def culprits(self, member: str, matrix: Vectors) -> dict[int, Blame]:
        """Return the rows that end or hang the copy. Raises ``Retryable`` where no copy can be started."""
        deployed = await asyncio.to_thread(specs, self._pipeline)
        spec = next(each for together in deployed.values() for each in together if each.name == member)
        found: dict[int, Blame] = {}
        async with self._turns[member]:
            if member in self._endings:
                self._endings.pop(member).cancel()
            await self._look_after(member)
            for row in range(len(matrix)):
                copy = self._copies.get(member) or await self._start(spec)
                try:
                    async with asyncio.timeout(spec.stuck_after_s):
                        await copy.predict.remote(matrix[row : row + 1], (member,))
                except TimeoutError:
                    says = f"{member}: it had not answered this event alone after {spec.stuck_after_s} s"
                    found[row] = Blame("model_hung", says)
                    self._end(member)
                except RayTaskError:
                    # What raises is told apart by halving, where it serves.
                    continue
                except RayActorError as died:
                    says = f"{member}: its process ended on this event alone"
                    found[row] = Blame("model_died", says)
                    _log.info("%s: %s", says, died)
                    self._end(member)
            self._endings[member] = asyncio.get_running_loop().call_later(self._keep_s, self._end, member)
        return found

    async def _look_after(self, member: str) -> None:
        """Let go of a copy that has died since: the next row must not be blamed for it."""
        copy = self._copies.get(member)
        if copy is not None:
            try:
                async with asyncio.timeout(_PING_S):
                    await copy.describe.remote()
            except (RayError, TimeoutError):
                self._end(member)

    async def _start(self, spec: MemberSpec) -> Any:
        # In a thread: where the cluster is gone, Ray waits for it in the midst of the call (twenty seconds, once).
        asked = asyncio.create_task(asyncio.to_thread(_asked_for, spec))
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                copy = await asyncio.shield(asked)
                await copy.describe.remote()
        except (RayError, TimeoutError) as failed:
            # Now, or as soon as it comes after all.
            asked.add_done_callback(_unwanted)
            raise Retryable(f"no copy of {spec.name} could be started: {failed!r:.200}") from failed
        self._copies[spec.name] = copy
        return copy

    def _end(self, member: str) -> None:
        copy = self._copies.pop(member, None)
        if copy is not None:
            asyncio.get_running_loop().run_in_executor(None, _kill, copy)


def _asked_for(spec: MemberSpec) -> Any:
    # No CPU is reserved: where every core is promised to replicas, a judge is needed all the same.
    return ray.remote(MemberReplica).options(num_cpus=0, num_gpus=0, max_restarts=0).remote([asdict(spec)])


def _unwanted(asked: asyncio.Task[Any]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        asked.get_loop().run_in_executor(None, _kill, asked.result())


def _kill(copy: Any) -> None:
    # Where Ray itself is gone, so is the copy.
    with suppress(RayError, RuntimeError):
        ray.kill(copy)
