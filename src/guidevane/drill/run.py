"""The drill: the platform is started once, and faults follow one another on it, each under load and each judged."""

from __future__ import annotations

import asyncio
import os
import platform as machine
import random
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.demo.run import source_of
from guidevane.demo.watch import Watch
from guidevane.drill.brokers import Brokers
from guidevane.drill.cluster import cluster_faults_of
from guidevane.drill.disk import small_disk
from guidevane.drill.faults import faults_of
from guidevane.drill.journal import Journal
from guidevane.drill.load import Load
from guidevane.drill.looking import LOOK_WITHIN_S, Looking, groups_of
from guidevane.drill.network import Wire
from guidevane.drill.scene import Scene
from guidevane.drill.trial import Tell, Trial, Trying
from guidevane.errors import Misconfigured
from guidevane.ledger import Ledger
from guidevane.loading import full_reference, load_pipeline
from guidevane.local.kafka import Detour
from guidevane.local.platform import Platform, Rooms
from guidevane.local.ports import free_ports
from guidevane.local.settling import settled
from guidevane.log.kafka import Connection, KafkaLog, KafkaOperator
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from guidevane.drill.disk import Disk
    from guidevane.drill.fault import Fault
    from guidevane.local.process import Progress
    from guidevane.pipeline import Mode

LIGHT = "guidevane.drill.light"
# Short, so that what must outlast a session does not take long.
SESSION_S = 6.0
_SETTINGS = {"GUIDEVANE_SESSION_TIMEOUT_S": str(SESSION_S)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What to go through, and how often: which faults, on which pipeline, under which load."""

    faults: tuple[str, ...] = ()
    mode: Mode = "effective"
    pipeline: str = LIGHT
    rooms: Rooms = "apart"
    rate_per_s: float = 60.0
    seed: int = 1
    times: int = 1
    cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a drill."""

    drill: Drill
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def machine(self) -> str:
        """Return what it ran on."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return f"{machine.machine()}, {cores} cores"

    @property
    def ok(self) -> bool:
        """Tell whether every fault that could be tried was survived."""
        return bool(self.trials) and all(trial.ok or trial.skipped for trial in self.trials)


@dataclass(frozen=True, slots=True)
class _Hold:
    """What faults may lay hands on beneath the platform."""

    wire: Wire
    disk: Disk | None
    brokers: Brokers | None


def chosen(names: Sequence[str], rooms: Rooms, *, cluster: bool = False) -> tuple[Fault, ...]:
    """Return the faults of these names, in the order of the catalogue; all of them where none is named.

    A name may stand for several: ``kill`` for all that begin with ``kill-``. Raises ``Misconfigured``.
    """
    every = cluster_faults_of(rooms) if cluster else faults_of(rooms)
    for name in names:
        if not any(_means(name, fault) for fault in every):
            raise Misconfigured(
                f"there is no fault {name} with rooms {rooms} → {nearest(name, [f.name for f in every])}"
            )
    return tuple(fault for fault in every if not names or any(_means(name, fault) for name in names))


def _means(name: str, fault: Fault) -> bool:
    return fault.name == name or fault.name.startswith(f"{name}-")


async def run_drill(drill: Drill, trials: list[Trial], *, state_dir: Path, progress: Progress, tell: Tell) -> None:
    """Go through the faults, each added to ``trials`` as it is judged: who stops a drill keeps what it has shown.

    Raises ``Misconfigured`` where the platform itself is given up.
    """
    faults = chosen(drill.faults, drill.rooms, cluster=drill.cluster)
    clock = SystemClock()
    reference = full_reference(drill.pipeline)
    async with AsyncExitStack() as open_:
        told, disk, brokers = dict(_SETTINGS), None, None
        if drill.cluster:
            progress("Kafka: three brokers", None)
            brokers = await open_.enter_async_context(Brokers(state_dir))
            told["KAFKA_BOOTSTRAP_SERVERS"] = brokers.bootstrap
        else:
            disk = open_.enter_context(small_disk(state_dir / "kafka"))
        open_.enter_context(_told(told))
        # Rooms come through the wire where the broker is the platform's own, and advertises it.
        advertised, port = free_ports(2)
        wire = await open_.enter_async_context(Wire(advertised, port))
        platform = await open_.enter_async_context(
            Platform(
                reference, state_dir=state_dir, rooms=drill.rooms, delivery=drill.mode, progress=progress,
                detour=None if drill.cluster else Detour(port, advertised),
            )
        )  # fmt: skip
        keeping = asyncio.create_task(platform.watch())
        trying = asyncio.create_task(_all(drill, faults, platform, _Hold(wire, disk, brokers), clock, trials, tell))
        try:
            await asyncio.wait({keeping, trying}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                # Something was given up: it says why, and there is nothing more to be tried.
                await keeping
            await trying
        finally:
            for task in (keeping, trying):
                task.cancel()
            await asyncio.gather(keeping, trying, return_exceptions=True)
            wire.mend()


async def _all(
    drill: Drill,
    faults: Sequence[Fault],
    platform: Platform,
    hold: _Hold,
    clock: SystemClock,
    trials: list[Trial],
    tell: Tell,
) -> None:
    pipeline = load_pipeline(drill.pipeline)
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    codec, ledger, stop = Codec(catalogue), Ledger(), asyncio.Event()
    connection = Connection.told(os.environ, bootstrap=platform.endpoints.kafka)
    async with AsyncExitStack() as open_:
        # Who looks must give up a broker that hangs: one that wakes tells of ends as it knew them, for a moment.
        log, beside = KafkaLog(connection), KafkaLog(replace(connection, request_timeout_s=LOOK_WITHIN_S))
        for each in (log, beside):
            open_.push_async_callback(each.close)
        operator = await open_.enter_async_context(KafkaOperator(connection))
        journal = open_.enter_context(Journal(platform.state_dir / "ledger.jsonl"))
        load = Load(
            pipeline=pipeline, source=source_of(drill.pipeline), log=log,
            encode=codec.encoder(pipeline.event.name, version=pipeline.event.version), ledger=ledger, journal=journal,
            clock=clock, seed=drill.seed, rate_per_s=drill.rate_per_s,
        )  # fmt: skip
        watch = Watch(pipeline, log, codec, clock, ledger)
        looking = Looking(beside, operator, groups_of(pipeline.name, pipeline.topics, fused=drill.rooms == "fused"))
        scene = Scene(
            platform=platform, load=load, wire=hold.wire, log=log, operator=operator, codec=codec, clock=clock,
            draws=random.Random(drill.seed), session_s=SESSION_S, disk=hold.disk, brokers=hold.brokers,
        )  # fmt: skip
        tasks = [asyncio.create_task(work) for work in (watch.run(stop), load.run(stop), looking.run())]
        try:
            await watch.reading.wait()
            # What has just started still loads and compiles: that is not what is tried.
            await settled(clock)
            run = f"{clock.now_us() % 1_000_000_000:x}"
            trying = Trying(scene, ledger, looking, tell)
            for number, fault in enumerate(tuple(faults) * drill.times):
                trials.append(await trying.one(fault, f"{run}-{number}-"))
                for task in tasks:
                    if task.done():
                        # What we look with must not be what fails unseen.
                        await task
            stop.set()
            await asyncio.gather(*tasks[:2])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _told(settings: Mapping[str, str]) -> Iterator[None]:
    """Put the drill's settings into the environment that rooms inherit, and take them out again."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
