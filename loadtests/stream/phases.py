"""The measurements: a burst to drain, and an open loop at a rate. Each is bounded in time."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.pipelines.employment import pipeline
from loadtests.stream import processes
from loadtests.stream.answers import Answers, backlog_s, latency_ms, match
from loadtests.stream.broker import PARTITIONS
from loadtests.stream.contender import ROOT, Failed
from loadtests.stream.generator import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.stream.broker import Broker
    from loadtests.stream.contender import Running

_START_S = 120.0
_POLL_S = 0.25
_TAIL_S = 20.0
_DRAIN_S = 60.0
_STALLED_S = 10.0
_QUIET_S = 3.0
_BOUND_S = 1.0
_GROWTH_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement of one contender.

    ``rate_per_s`` is what was offered (0: all at once), ``events_per_s`` what was decided, from the first event due
    to the last decision. ``bounded`` tells whether the backlog stayed so; nothing lost is part of it.
    """

    rate_per_s: float
    events: int
    seconds: float
    events_per_s: float
    lost: int
    duplicated: int
    full: int
    latency_ms: dict[str, float | None]
    cpu_s: dict[str, float]
    broker_cpu_s: float
    events_per_cpu_s: float
    backlog_s: tuple[float, float]
    bounded: bool
    generator_lag_ms: dict[str, float]
    generator_failed: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class Stage:
    """Where a contender is measured: the broker, where its processes are found, and who is told how far it is."""

    def __init__(
        self,
        broker: Broker,
        broker_dir: Path,
        tell: Callable[[str, float], None],
        made: Callable[[str, Measured], None],
    ) -> None:
        self.broker = broker
        self.broker_dir = broker_dir
        self.tell = tell
        self.made = made
        self._owed = 0

    async def first(self, run: Running) -> Measured:
        """Give it a few events, and the time to start and answer them: some cannot say that they are ready."""
        return await self._measure(run, events=50, rate_per_s=50.0, within_s=_START_S, what="starting")

    async def burst(self, run: Running, events: int) -> Measured:
        """Give it so many events at once; measure until all are decided."""
        made = await self._measure(run, events=events, rate_per_s=0.0, within_s=_DRAIN_S, what=f"drain {events}")
        self.made(run.contender.name, made)
        return made

    async def hold(
        self, run: Running, rate_per_s: float, seconds: float, *, labels: bool = False, linger_ms: int = 5
    ) -> Measured:
        """Send at a rate, open loop, for so long; measure until all are decided."""
        events = max(1, int(rate_per_s * seconds))
        what = f"{rate_per_s:.0f}/s"
        within_s = seconds + _TAIL_S
        made = await self._measure(
            run, events=events, rate_per_s=rate_per_s, within_s=within_s, what=what, labels=labels,
            linger_ms=linger_ms,
        )  # fmt: skip
        self.made(run.contender.name, made)
        return made

    async def _measure(
        self,
        run: Running,
        *,
        events: int,
        rate_per_s: float,
        within_s: float,
        what: str,
        labels: bool = False,
        linger_ms: int = 5,
    ) -> Measured:
        contender = run.contender
        if self._owed:
            await self._settled(run)
        start = self.broker.ends(contender.decisions)
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(
                bootstrap=self.broker.bootstrap,
                topic=contender.events,
                partitions=PARTITIONS,
                run=uuid.uuid4().hex[:8],
                count=events,
                rate_per_s=rate_per_s,
                seed=events,
                out=str(Path(folder) / "sent.npz"),
                labels_topic=pipeline.topics.labels if labels else "",
                linger_ms=linger_ms,
            )
            generator = await _generator(plan)
            try:
                before, broker_before = run.cpu_s(), _total(processes.cpu_s(self.broker_dir))
                generator.write(b"go\n")
                began_s = time.monotonic()
                await self._until_answered(run, start, events, began_s + within_s, what)
                spent = processes.spent(before, run.cpu_s())
                broker_spent = _total(processes.cpu_s(self.broker_dir)) - broker_before
                told = await generator.told()
            finally:
                await generator.end()
            with np.load(plan.out) as kept:
                due_us = kept["due_us"]
        found = self.broker.read(contender.decisions, start, self.broker.ends(contender.decisions))
        answers = match(found, plan.run, events, decides=contender.decides)
        self._owed = answers.lost
        return _measured(plan, due_us, answers, spent, broker_spent, told)

    async def _settled(self, run: Running) -> None:
        """Let it answer what it still owes, so that this is not counted as answers to what comes next."""
        seen, moved_s = self.broker.ends(run.contender.decisions), time.monotonic()
        by_s = moved_s + _DRAIN_S
        while (now_s := time.monotonic()) < by_s and now_s - moved_s < _QUIET_S:
            await asyncio.sleep(_POLL_S)
            ends = await asyncio.to_thread(self.broker.ends, run.contender.decisions)
            self.tell(f"{run.contender.name}: catching up", 0.0)
            if ends != seen:
                seen, moved_s = ends, now_s
        self._owed = 0

    async def _until_answered(self, run: Running, start: list[int], events: int, by_s: float, what: str) -> None:
        """Wait until as many answers are there as events were sent, the time is over, or nothing comes any more."""
        seen, moved_s = 0, time.monotonic()
        while time.monotonic() < by_s:
            run.check()
            ends = await asyncio.to_thread(self.broker.ends, run.contender.decisions)
            answered = sum(ends) - sum(start)
            self.tell(f"{run.contender.name}: {what}", min(1.0, answered / events))
            if answered >= events:
                return
            if answered > seen:
                seen, moved_s = answered, time.monotonic()
            elif seen and time.monotonic() - moved_s > _STALLED_S:
                return
            await asyncio.sleep(_POLL_S)


def _measured(
    plan: Plan, due_us: np.ndarray, answers: Answers, cpu_s: dict[str, float], broker_cpu_s: float, told: dict[str, Any]
) -> Measured:
    decided = len(due_us) - answers.lost
    last_us = int(answers.at_us.max()) if decided else int(due_us[-1])
    seconds = max((last_us - int(due_us[0])) / 1e6, 1e-3)
    backlog = backlog_s(due_us, answers.at_us, plan.rate_per_s) if plan.rate_per_s else (0.0, 0.0)
    middle, end = backlog
    steady = end <= _BOUND_S and end - middle <= _GROWTH_S
    return Measured(
        rate_per_s=plan.rate_per_s,
        events=plan.count,
        seconds=round(seconds, 2),
        events_per_s=round(decided / seconds, 1),
        lost=answers.lost,
        duplicated=answers.duplicated,
        full=answers.full,
        latency_ms=latency_ms(due_us, answers),
        cpu_s=cpu_s,
        broker_cpu_s=round(broker_cpu_s, 2),
        events_per_cpu_s=round(decided / max(_total(cpu_s), 1e-3), 1),
        backlog_s=backlog,
        bounded=steady and not answers.lost,
        generator_lag_ms={name: round(value, 2) for name, value in told["lag_ms"].items()},
        generator_failed=told["failed"],
    )


def _total(cpu_s: dict[str, float]) -> float:
    return sum(cpu_s.values())


@dataclass(slots=True)
class _Generator:
    process: asyncio.subprocess.Process

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101 - narrows the type: it was opened as a pipe
        self.process.stdin.write(line)

    async def line(self) -> bytes:
        assert self.process.stdout is not None  # noqa: S101 - likewise
        return await self.process.stdout.readline()

    async def told(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            if not (line := await self.line()):
                raise Failed("the generator ended before it told what it did: see what it says above")
            made: dict[str, Any] = json.loads(line)
            return made

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def _generator(plan: Plan) -> _Generator:
    """Start the generator; return when everything is encoded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.stream.generator",
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    generator = _Generator(process)
    generator.write(json.dumps(asdict(plan)).encode() + b"\n")
    async with asyncio.timeout(120):
        if await generator.line() != b"ready\n":
            await generator.end()
            raise Failed("the generator could not prepare: see what it says above")
    return generator
