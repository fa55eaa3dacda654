"""One run: a broker, and in each round every contender in turn, alone on the machine."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from loadtests.stream.screen import held, show, soaked
from loadtests.stream.soak import soak

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.stream.contender import Running

_WARM_RATE, _WARM_S = 200.0, 3.0
# Where a hold at one share of the drained rate succeeds, the next higher one is tried; else the next lower one.
_SHARES = (0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.15)
_FIRST = 3


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

        async with LocalKafka(folder / "broker", die_with_parent=True) as kafka:
            await warm_up(kafka.bootstrap)
            broker = Broker(kafka.bootstrap)
            stage = Stage(broker, folder / "broker", tell, lambda name, made: console.print(held(name, made)))
            try:
                for number in range(1, wanted.rounds + 1):
                    for contender in field:
                        tell(f"{contender.name}: starting", 0.0)
                        try:
                            found = await _turn(contender, stage, wanted, first=number == 1)
                        except Failed as why:
                            # One who cannot is no reason not to measure the others.
                            results.fail(contender, str(why))
                            console.print(f"[red]{contender.name}[/red], round {number}: {why}")
                        else:
                            results.add(contender, found)
                            for each in found.get("soak", []):
                                console.print(soaked(contender.name, each))
                        bars.advance(whole)
            finally:
                broker.close()
    show(results, console)


async def _turn(contender: Contender, stage: Stage, wanted: Wanted, *, first: bool) -> dict[str, list[Any]]:
    """Start one contender, measure the parts, end it. Only the first round looks for the sustained rate."""
    if not contender.ours:
        stage.broker.make(contender.events, contender.decisions)
    try:
        async with running(contender, stage.broker.bootstrap) as run:
            # Those who cannot say that they are ready have been, once these are answered.
            await _answered(run, stage)
            if wanted.soak_s:
                return {"soak": [await soak(run, stage, rate_per_s=wanted.fixed_per_s, seconds=wanted.soak_s)]}
            measured = await _parts(run, stage, wanted, first=first)
            return {part: [each.as_dict() for each in made] for part, made in measured.items()}
    finally:
        stage.broker.clear()


async def _parts(run: Running, stage: Stage, wanted: Wanted, *, first: bool) -> dict[str, list[Measured]]:
    contender, found = run.contender, dict[str, list[Measured]]()
    if "fixed" in wanted.parts:
        # Our platform gets the labels too, which its monitors join: what nobody else does.
        found["fixed"] = [await stage.hold(run, wanted.fixed_per_s, wanted.seconds, labels=contender.ours)]
    if {"drain", "half", "sustained"} & set(wanted.parts):
        found["drain"] = [await stage.burst(run, contender.burst)]
        drained_per_s = found["drain"][0].events_per_s
        if first and contender.decides and "half" in wanted.parts:
            found["half"] = [await stage.hold(run, drained_per_s / 2, wanted.seconds)]
        if first and contender.decides and "sustained" in wanted.parts:
            found["sustained"] = await _climb(run, stage, drained_per_s, wanted.hold_s)
    return found


async def _answered(run: Running, stage: Stage) -> None:
    """Wait until it answers, then warm it up."""
    if (await stage.first(run)).lost:
        raise Failed(f"it did not answer its first events. Its log {run.trail} ends:\n{last_lines(run.trail)}")
    await stage.hold(run, _WARM_RATE, _WARM_S)


async def _climb(run: Running, stage: Stage, drained_per_s: float, hold_s: float) -> list[Measured]:
    """Hold rates around the drained one until the highest that stays bounded is known; return every hold."""
    held: list[Measured] = []
    at, tried = _FIRST, set[int]()
    while 0 <= at < len(_SHARES) and at not in tried:
        tried.add(at)
        made = await stage.hold(run, drained_per_s * _SHARES[at], hold_s)
        held.append(made)
        if not made.bounded and at + 1 in tried:
            break
        at += 1 if made.bounded else -1
        if at in tried:
            break
    return held
