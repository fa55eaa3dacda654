"""One run: a broker, and in each round every contender in turn, alone on the machine."""

from __future__ import annotations

import asyncio
import math
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from guidevane.local.kafka import LocalKafka
from guidevane.local.process import last_lines
from guidevane.local.warm import warm_up
from loadtests.stream.broker import Broker
from loadtests.stream.contender import Contender, Failed, running
from loadtests.stream.field import chosen
from loadtests.stream.phases import Measured, Stage
from loadtests.stream.report import Results
from loadtests.stream.screen import held, show
from loadtests.stream.soak import soak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from loadtests.stream.contender import Running

_WARM_RATE, _WARM_S = 200.0, 3.0
# The broker of a bench lives long: its compiler has done its work before anybody is measured.
_WARM_ROUNDS, _WARM_BROKER_S = 4_000, 60.0
# Where throughput is asked for, the producer waits for company as one that wants throughput does: at 5 ms and twelve
# partitions it makes a thousand requests a second, and takes a quarter of a core from whoever is measured.
_BULK_LINGER_MS = 20
# Where a hold at one share of the drained rate succeeds, the next higher one is tried; else the next lower one.
_SHARES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.15)
_FIRST = 4
# Between the last that was held and the first that was not, once more, where they are so far apart.
_APART = 1.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; see ``--help``."""

    only: str
    rounds: int
    seconds: float
    hold_s: float
    parts: tuple[str, ...]
    fixed_per_s: float
    out: Path
    fresh: bool
    soak_s: float = 0.0


async def bench(wanted: Wanted, folder: Path) -> None:
    """Measure everyone who was asked for; write after each, so that an interrupted run has what it has."""
    field = chosen(wanted.only)
    # Told to end, everything that was started is ended in order, and temporary folders are removed.
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - narrows the type: a coroutine that runs has a task
    loop = asyncio.get_running_loop()

    def told() -> None:
        # Once: a second one (`timeout` sends two) would interrupt the ending itself.
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
        me.cancel()

    loop.add_signal_handler(signal.SIGTERM, told)
    results = Results(wanted.out, fresh=wanted.fresh)
    console = Console(stderr=True, soft_wrap=True)
    bars = Progress(
        TextColumn("{task.description:<36}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    )
    with bars:
        whole = bars.add_task("whole run", total=len(field) * wanted.rounds)
        now = bars.add_task("broker", total=1.0)

        def tell(what: str, share: float) -> None:
            bars.update(now, description=what, completed=share)

        async with LocalKafka(folder / "broker", die_with_parent=True, long_lived=True) as kafka:
            await warm_up(kafka.bootstrap, rounds=_WARM_ROUNDS, within_s=_WARM_BROKER_S)
            broker = Broker(kafka.bootstrap)
            stage = Stage(broker, folder / "broker", tell, lambda name, made: console.print(held(name, made)))
            try:
                for number in range(1, wanted.rounds + 1):
                    for contender in field:
                        tell(f"{contender.name}: starting", 0.0)
                        try:
                            await _turn(contender, stage, wanted, results, first=number == 1)
                        except Failed as why:
                            # One who cannot is no reason not to measure the others.
                            results.fail(contender, str(why))
                            console.print(f"[red]{contender.name}[/red], round {number}: {why}")
                        bars.advance(whole)
            finally:
                broker.close()
                if results.measured:
                    show(results, console)


async def _turn(contender: Contender, stage: Stage, wanted: Wanted, results: Results, *, first: bool) -> None:
    """Start one contender, measure the parts, end it; each part is written down when it is known."""
    if not contender.ours:
        stage.broker.make(contender.events, contender.decisions, *contender.beside)
    try:
        async with running(contender, stage.broker.bootstrap) as run:
            # Those who cannot say that they are ready have been, once these are answered.
            await _answered(run, stage)
            if wanted.soak_s:
                results.add(
                    contender, "soak", await soak(run, stage, rate_per_s=wanted.fixed_per_s, seconds=wanted.soak_s)
                )
            else:
                async for part, made in _parts(run, stage, wanted, first=first):
                    results.add(contender, part, made.as_dict())
    finally:
        stage.broker.clear()


async def _parts(run: Running, stage: Stage, wanted: Wanted, *, first: bool) -> AsyncIterator[tuple[str, Measured]]:
    """Yield each measurement with its part. Only the first round looks for the half and the sustained rate."""
    contender = run.contender
    if "fixed" in wanted.parts:
        # Our platform gets the labels too, which its monitors join: what nobody else does.
        yield "fixed", await stage.hold(run, wanted.fixed_per_s, wanted.seconds, labels=contender.ours)
    if not {"drain", "half", "sustained"} & set(wanted.parts):
        return
    # A process that serves for weeks has seen full batches; what they find out the first time (which shapes give the
    # same bytes, a plan for this rate) is told apart.
    yield "first_drain", await stage.burst(run, contender.burst)
    drained = await stage.burst(run, contender.burst)
    yield "drain", drained
    if first and contender.decides and "half" in wanted.parts:
        yield "half", await stage.hold(run, drained.events_per_s / 2, wanted.seconds)
    if first and contender.decides and "sustained" in wanted.parts:
        async for made in _climb(run, stage, drained.events_per_s, wanted.hold_s):
            yield "sustained", made


async def _answered(run: Running, stage: Stage) -> None:
    """Wait until it answers, then warm it up."""
    if (await stage.first(run)).lost:
        raise Failed(f"it did not answer its first events. Its log {run.trail} ends:\n{last_lines(run.trail)}")
    await stage.hold(run, _WARM_RATE, _WARM_S)


async def _climb(run: Running, stage: Stage, drained_per_s: float, hold_s: float) -> AsyncIterator[Measured]:
    """Hold rates around the drained one, up while the backlog stays bounded, else down, until a step would repeat.

    Then one between: of steps this wide, the lower one is half of what is drained where the truth is near two thirds.
    """
    at, tried = _FIRST, dict[int, bool]()
    while 0 <= at < len(_SHARES) and at not in tried:
        made = await stage.hold(run, drained_per_s * _SHARES[at], hold_s, linger_ms=_BULK_LINGER_MS)
        yield made
        tried[at] = made.bounded
        at += 1 if made.bounded else -1
    if (share := between(tried)) is not None:
        yield await stage.hold(run, drained_per_s * share, hold_s, linger_ms=_BULK_LINGER_MS)


def between(tried: Mapping[int, bool]) -> float | None:
    """Return the share between the highest that was held and the lowest that was not; ``None`` where they are close.

    >>> round(between({4: False, 3: False, 2: True}), 2), between({7: True}), between({0: False})
    (0.57, None, None)
    """
    held = [_SHARES[at] for at, bounded in tried.items() if bounded]
    lost = [_SHARES[at] for at, bounded in tried.items() if not bounded]
    if not held or not lost or min(lost) / max(held) <= _APART:
        return None
    return math.sqrt(min(lost) * max(held))
