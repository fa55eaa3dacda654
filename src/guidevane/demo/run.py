"""The demo: everything started, real events sent when due, outcomes checked, one report at the end."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rich.live import Live

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.demo.replay import Replay, Source, poisson, tripling
from guidevane.demo.report import Surge, report
from guidevane.demo.screen import screen
from guidevane.demo.watch import Watch
from guidevane.errors import Misconfigured
from guidevane.ledger import Ledger
from guidevane.loading import full_reference, load_pipeline
from guidevane.local.settling import settled
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.runtime.garbage import freeze

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from guidevane.local.endpoints import Endpoints

_OUTCOMES_WITHIN_S = 60.0
_LABELS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What to run: which pipeline, how fast, for how long; does the rate triple halfway, and does anybody steer."""

    pipeline: str
    rate_per_s: float = 100.0
    seconds: float = 60.0
    seed: int = 1
    triples: bool = False
    steered: bool = True

    def arrivals(self) -> NDArray[np.float64]:
        """Return when events are due, in seconds from the begin."""
        return (tripling if self.triples else poisson)(self.rate_per_s, self.seconds, self.seed)

    def checked(self) -> Demo:
        """Return it, or raise ``Misconfigured`` before anything starts: what has no data must not cost a minute."""
        load_pipeline(self.pipeline)
        data_of(self.pipeline)
        return self


def source_of(reference: str) -> Source:
    """Return the recorded data of an example pipeline. Raises ``Misconfigured`` where it has none."""
    return data_of(reference)()


def data_of(reference: str) -> Callable[[], Source]:
    """Return what loads them. Raises ``Misconfigured`` where there is nothing."""
    module = f"{full_reference(reference).partition(':')[0]}.data"
    try:
        return cast("Callable[[], Source]", importlib.import_module(module).load)
    except (ImportError, AttributeError) as missing:
        raise Misconfigured(f"{reference} brings no data to replay: a demo needs {module}.load()") from missing


async def run_demo(
    demo: Demo, endpoints: Endpoints, console: Console, *, started_s: float, state_dir: Path, rooms: str
) -> dict[str, Any]:
    """Send, watch and check; return the report. ``started_s`` is when the command began, on the monotonic clock."""
    clock = SystemClock()
    pipeline = load_pipeline(demo.pipeline)
    source = source_of(demo.pipeline)
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    codec = Codec(catalogue)
    ledger = Ledger()
    facts: dict[str, Any] = {}
    async with AsyncExitStack() as open_:
        log = KafkaLog(Connection.told(os.environ, bootstrap=endpoints.kafka))
        open_.push_async_callback(log.close)
        producer = await log.producer(name="demo")
        open_.push_async_callback(producer.close)
        watch = Watch(pipeline, log, codec, clock, ledger)
        replay = Replay(
            pipeline=pipeline,
            source=source,
            producer=producer,
            encode=codec.encoder(pipeline.event.name, version=pipeline.event.version),
            encode_label=codec.encoder("label"),
            ledger=ledger,
            clock=clock,
            label_delay_s=source.label_delay_s(demo.rate_per_s),
            # Ids must be new: the state folder may hold the events of an earlier run.
            run=clock.now_us() % 1_000_000_000,
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as together:
            watching = together.create_task(watch.run(stop))
            first = together.create_task(_first(watch, clock, started_s, facts))
            await watch.reading.wait()
            facts["settled_s"] = await settled(clock)
            # Who measures must not stand still either.
            freeze()
            began_s = clock.monotonic_s()
            playing = together.create_task(replay.play(demo.arrivals()))
            with Live(console=console, refresh_per_second=2, transient=True) as live:

                async def show() -> None:
                    while True:
                        elapsed_s = clock.monotonic_s() - began_s
                        live.update(
                            screen(watch, replay, elapsed_s=elapsed_s, seconds=demo.seconds, admin=endpoints.admin)
                        )
                        await asyncio.sleep(0.5)

                showing = together.create_task(show())
                await playing
                await _until(lambda: ledger.waiting == 0, _OUTCOMES_WITHIN_S)
                await _until(lambda: watch.outcomes_joined >= ledger.decisions, _LABELS_WITHIN_S)
                showing.cancel()
            stop.set()
            first.cancel()
            await watching
    facts |= {"state_dir": str(state_dir), "machine": f"{platform.machine()}, {_cores()} cores", "seed": demo.seed}
    half_s = demo.seconds / 2
    surge = Surge(replay.began_us + int(half_s * 1e6), half_s, demo.rate_per_s) if demo.triples else None
    return report(
        ledger, watch, pipeline.slo, seconds=demo.seconds, rooms=rooms, facts=facts, steered=demo.steered, surge=surge
    )


async def _first(watch: Watch, clock: SystemClock, started_s: float, facts: dict[str, Any]) -> None:
    await watch.first_decision.wait()
    facts["first_decision_s"] = round(clock.monotonic_s() - started_s, 1)


async def _until(done: Callable[[], bool], within_s: float) -> bool:
    """Poll until it is done, or the time is over; tell which."""
    try:
        async with asyncio.timeout(within_s):
            while not done():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.1)
    except TimeoutError:
        return False
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
