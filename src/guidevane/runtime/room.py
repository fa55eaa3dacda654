"""A room's life, the same for all: ports opened, signals heard, work done, drained, everything closed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from guidevane import __version__
from guidevane.catalogue import Catalogue
from guidevane.clock import Clock, SystemClock
from guidevane.codec import Codec
from guidevane.control.waiting import FetchWaits
from guidevane.errors import Denied, GuidevaneError, Misconfigured, Retryable
from guidevane.loading import load_pipeline
from guidevane.log import Fetch, Log
from guidevane.log.kafka import KafkaLog
from guidevane.log.renewed import Renewed
from guidevane.runtime.limit import DeadLetterLimit
from guidevane.runtime.loop import loop_runner
from guidevane.runtime.retry import Backoff
from guidevane.runtime.worker import Limits, Worker
from guidevane.settings import RoomSettings, read_settings
from guidevane.telemetry import names
from guidevane.telemetry.exposition import Exposition
from guidevane.telemetry.health import Health, HealthServer
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.publisher import Publisher
from guidevane.telemetry.tracing import Tracer, tracer_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Stage

S = TypeVar("S", bound=RoomSettings)
S_co = TypeVar("S_co", bound=RoomSettings, covariant=True)
_log = logging.getLogger(__name__)
_STUCK_REQUESTS = 3


class StoppedWaiting(GuidevaneError):
    """The room was told to stop before the world was ready for it: nothing was begun, and nothing is to be drained."""


@dataclass(frozen=True, slots=True)
class Room(Generic[S_co]):
    """What a room is given: its settings, its pipeline, and the ports. ``stop`` is set when it shall end."""

    name: str
    settings: S_co
    pipeline: Pipeline
    log: Log
    clock: Clock
    catalogue: Catalogue
    codec: Codec
    metrics: Metrics
    health: Health
    tracer: Tracer
    stop: asyncio.Event

    @property
    def group(self) -> str:
        """Return the room's consumer group."""
        return f"{self.pipeline.name}.{self.name}"

    @property
    def fetch_wait_s(self) -> float:
        """Return how long a fetch waits for company until the controller says so."""
        told_s = self.settings.fetch_wait_s
        return FetchWaits(self.pipeline.slo.within_ms / 1e3).wait_s(0.0) if told_s is None else told_s

    def worker(self, stages: Sequence[Stage]) -> Worker:
        """Return the engine for these stages, paced as the settings say."""
        settings = self.settings
        return Worker(
            stages,
            log=self.log,
            dlq=self.pipeline.topics.dlq,
            group=self.group,
            instance=settings.instance,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            tracer=self.tracer,
            limits=Limits(
                # What other rooms have written comes in their batches; only the world's events come one by one.
                # However much waits, four batches at least are under way at once.
                fetch=Fetch(
                    wait_s=self.fetch_wait_s,
                    formed=not stages[0].first,
                    max_records_behind=settings.max_in_flight_records // 4,
                ),
                max_records=settings.max_in_flight_records,
                session_s=settings.session_timeout_s,
                transact_every_s=settings.transact_every_s,
                dead_letters=DeadLetterLimit(
                    settings.dead_letter_share, settings.dead_letter_window, settings.dead_letter_least
                ),
            ),
            mode=settings.delivery or self.pipeline.delivery,
        )


def live(name: str, kind: type[S], work: Callable[[Room[S]], Awaitable[None]]) -> None:
    """Run a room until it is told to stop; the process ends with 0, or with 78 where a person must mend something.

    SIGTERM and SIGINT drain, also while the room still waits for the world; a second one ends the process at once.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = read_settings(kind)
        logging.getLogger().setLevel(settings.log_level)
        os.nice(settings.niceness)
        # What these say of a broker or a dashboard that is away, the room says itself, once.
        for client, level in {"aiokafka": logging.CRITICAL, "httpx": logging.WARNING}.items():
            logging.getLogger(client).setLevel(level)
        loop_runner()(_live(name, settings, work))
    except StoppedWaiting as asked:
        _log.info("%s: %s", name, asked)
    except Misconfigured as wrong:
        _log.error("%s cannot run: %s", name, wrong)
        # EX_CONFIG of sysexits.h: a supervisor need not try again.
        sys.exit(78)


async def _live(name: str, settings: S, work: Callable[[Room[S]], Awaitable[None]]) -> None:
    pipeline = load_pipeline(settings.pipeline)
    stop = asyncio.Event()
    _hear(stop)
    clock = SystemClock(settings.clock_offset_s)
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    async with AsyncExitStack() as open_:
        metrics = Metrics(pipeline.name, name, settings.instance)
        metrics.gauge(names.BUILD_INFO, 1, version=__version__)
        exposition = Exposition(metrics, os.environ)
        open_.callback(exposition.close)
        connection = settings.connection()
        # A broker that is away holds a call for as long as a request may take: waiting for it is not being stuck.
        health = Health(clock, stuck_after_s=_STUCK_REQUESTS * connection.request_timeout_s)
        server = HealthServer(health, exposition.scrape, settings.metrics_port, host=settings.metrics_host)
        open_.enter_context(server)
        tracer = tracer_for(pipeline.name, name, settings.instance, os.environ)
        open_.callback(tracer.close)
        log = KafkaLog(connection)
        open_.push_async_callback(log.close)
        codec = Codec(catalogue)
        room = Room(name, settings, pipeline, log, clock, catalogue, codec, metrics, health, tracer, stop)
        await patiently(room, lambda: log.ensure(pipeline.specs()))
        producer = await patiently(room, lambda: Renewed.open(log, name=f"{settings.instance}-telemetry"))
        open_.push_async_callback(producer.close)
        publisher = Publisher(metrics, producer, codec.encoder("telemetry"), clock)
        speaking = asyncio.create_task(publisher.run(stop))
        try:
            await work(room)
        finally:
            stop.set()
            await speaking


T = TypeVar("T")


async def patiently(room: Room[S], call: Callable[[], Awaitable[T]]) -> T:
    """Call until the world is ready; the reason why it is not stands in ``/readyz``.

    Raises ``StoppedWaiting``, or ``Misconfigured`` where no waiting helps: a password or a right is wrong.
    """
    backoff = Backoff(0.2, 3.0)
    attempt = 0
    while True:
        room.health.tick()
        try:
            return await call()
        except Denied as denied:
            raise Misconfigured(str(denied)) from denied
        except Retryable as not_yet:
            room.health.ready(False, str(not_yet))
            _log.info("waiting: %s", not_yet)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.delay_s(attempt)):
                    await room.stop.wait()
            if room.stop.is_set():
                raise StoppedWaiting(f"stopped while waiting: {not_yet}") from not_yet
            attempt += 1


def _hear(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
