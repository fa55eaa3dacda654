"""``python -m loadtests.beside``: what the rooms beside an event's way take of the CPU, by the event; one JSON file.

The example's events are answered once over an in-memory log by the four stages, models and all. Then the monitors room
and the admin room, as they run behind ``guidevane up``, read along from the start, each in its turn and alone in this
process; with ``--broker`` from a real Kafka, so that what its client takes is in it. CPU seconds of this process, the
least of ``--rounds``: others only ever add.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import torch

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.local.kafka import LocalKafka
from guidevane.log import Fetch, Message
from guidevane.log.kafka import KafkaLog
from guidevane.log.kafka.connection import Connection
from guidevane.log.memory import MemoryLog
from guidevane.monitors.monitor import watch
from guidevane.monitors.outcomes import OutcomeJoin
from guidevane.pipelines.employment import pipeline
from guidevane.runtime.garbage import freeze
from guidevane.runtime.worker import Limits, Worker
from guidevane.services.admin.service import AdminRoom
from guidevane.services.admin.state import Subject
from guidevane.services.monitors.service import MonitorsRoom, Pace
from guidevane.services.monitors.store import Store
from guidevane.services.monitors.watching import Watcher
from guidevane.telemetry import names
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import LocalMembers, hot_stages
from loadtests.stream.events import arrivals_us, encoded, labels
from loadtests.stream.report import about

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from guidevane.log import Log, Record

_PARTITIONS = 12
_OUT = Path("loadtests/results/beside/latest.json")
_WITHIN_S = 300.0
_AT_ONCE = 500
_LOOK_S = 0.02
_TOPICS = pipeline.topics


async def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.beside", description=__doc__)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--events", type=int, default=20_000)
    asked.add_argument("--batch", type=int, nargs="+", default=[4096, 512, 64], help="records that one fetch brings")
    asked.add_argument("--broker", action="store_true", help="read from a real Kafka")
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    torch.set_num_threads(1)
    # River is imported before anything is measured, as the room does it.
    watch(pipeline.monitors, pipeline)
    answered = await _answered(told.events)
    unlabelled = {topic: each for topic, each in answered.items() if topic != _TOPICS.labels}
    found: dict[str, float] = {}
    async with AsyncExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        if told.broker:
            kafka = await open_.enter_async_context(LocalKafka(folder / "broker", die_with_parent=True))
            shared = KafkaLog(Connection(kafka.bootstrap))
            await _fill(shared, unlabelled)
        for batch in told.batch:
            # Outcomes that stand on the topic are not written again: on a broker, only what writes none is repeatable.
            for name, given, measure in (
                ("monitors", unlabelled if told.broker else answered, _monitors_s),
                ("monitors without labels", unlabelled, _monitors_s),
                ("admin", unlabelled, _admin_s),
                ("admin, asked at the end", unlabelled, _asked_s),
            )[1 if told.broker else 0 :]:
                used_s = []
                for _ in range(told.rounds):
                    log: Log = shared if told.broker else MemoryLog(partitions=_PARTITIONS)
                    if not told.broker:
                        await _fill(log, given)
                    with tempfile.TemporaryDirectory() as state:
                        fetch = Fetch(wait_s=0.25, max_records=batch)
                        used_s.append(await measure(log, fetch, Path(state), _count(given)))
                what = f"{name}, batches of {batch}"
                found[what] = round(min(used_s) / told.events * 1e6, 2)
                sys.stdout.write(f"{what}: {found[what]} us an event\n")
    load = [round(each, 1) for each in os.getloadavg()]
    told.out.parent.mkdir(parents=True, exist_ok=True)
    whole = {"us_per_event": found, "broker": told.broker, "load_average": load} | about()
    told.out.write_text(json.dumps(whole, indent=1) + "\n")


async def _answered(events: int) -> dict[str, list[list[Record]]]:
    """Return what the hot path wrote of the example's events that others read, and the labels, topic by topic."""
    clock, metrics = SystemClock(), Metrics(pipeline.name, "fused", "bench")
    codec, log = Codec(Catalogue([pipeline.event])), MemoryLog(partitions=_PARTITIONS)
    due_us = arrivals_us(500.0, events, seed=1) + time.time_ns() // 1000
    for event in encoded("beside", due_us, partitions=_PARTITIONS):
        await log.append(_TOPICS.events, event.partition, [Message(event.key, event.value)])
    for label in labels("beside", due_us, partitions=_PARTITIONS):
        await log.append(_TOPICS.labels, label.partition, [Message(label.key, label.value)])
    worker = Worker(
        hot_stages(pipeline, LocalMembers(pipeline), codec, clock=clock, metrics=metrics),
        log=log, dlq=_TOPICS.dlq, group="bench", instance="bench", clock=clock, metrics=metrics,
        health=Health(clock), limits=Limits(fetch=Fetch(max_records=512)),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    async with asyncio.timeout(_WITHIN_S), log.arrived:
        await log.arrived.wait_for(lambda: sum(map(len, log.topic(_TOPICS.decisions))) >= events)
    stop.set()
    await running
    read = (_TOPICS.accepted, _TOPICS.decisions, _TOPICS.labels)
    return {topic: [list(partition.committed()) for partition in log.topic(topic)] for topic in read}


async def _fill(log: Log, given: Mapping[str, Sequence[Sequence[Record]]]) -> None:
    """Put these records on a log that has none."""
    await log.ensure(pipeline.specs())
    producer = await log.producer(name="bench")
    for topic, partitions in given.items():
        for number, records in enumerate(partitions):
            for start in range(0, len(records), _AT_ONCE):
                some = records[start : start + _AT_ONCE]
                await producer.send(topic, number, [Message(each.key, each.value, each.headers) for each in some])
    await producer.close()


def _count(given: Mapping[str, Sequence[Sequence[Record]]]) -> int:
    return sum(len(records) for partitions in given.values() for records in partitions)


async def _monitors_s(log: Log, fetch: Fetch, folder: Path, records: int) -> float:
    """Return the CPU seconds of the monitors room for the records that are there."""
    clock, metrics = SystemClock(), Metrics(pipeline.name, "monitors", "bench")
    codec, health, group = Codec(Catalogue([pipeline.event])), Health(clock), f"bench-{uuid4()}"

    def begin(partitions: Mapping[str, int]) -> Watcher:
        join = OutcomeJoin()
        return Watcher(pipeline, codec, join, group=group, partitions=partitions, clock=clock, metrics=metrics)

    room = MonitorsRoom(
        begin, Store(folder),
        topics=_TOPICS, log=log, group=group, clock=clock, metrics=metrics, health=health, pace=Pace(fetch=fetch),
    )  # fmt: skip
    return await _used_s(room.run, lambda: sum(n for _, n in metrics.standing(names.EVENTS_TOTAL)) >= records)


async def _admin_s(log: Log, fetch: Fetch, folder: Path, records: int) -> float:
    """Return the CPU seconds of the admin room for what is there while nobody asks for a decision."""
    del fetch, folder, records
    return await _admin_until(log, asked=False)


async def _asked_s(log: Log, fetch: Fetch, folder: Path, records: int) -> float:
    """Return the CPU seconds of the admin room where somebody asks for a decision, so that it reads them all."""
    del fetch, folder, records
    return await _admin_until(log, asked=True)


async def _admin_until(log: Log, *, asked: bool) -> float:
    clock = SystemClock()
    producer = await log.producer(name="bench")
    room = AdminRoom(
        log, producer, Codec(Catalogue([pipeline.event])), [Subject.of(pipeline)], clock, health=Health(clock)
    )
    answered = asyncio.Event()

    async def run(stop: asyncio.Event) -> None:
        following = asyncio.create_task(room.run(stop))
        if asked:
            await room.decision(room.state.watches[pipeline.name], "none of them")
            answered.set()
        await following

    used_s = await _used_s(run, lambda: room.caught_up and (answered.is_set() or not asked))
    await producer.close()
    return used_s


async def _used_s(run: Callable[[asyncio.Event], Coroutine[None, None, None]], done: Callable[[], bool]) -> float:
    # What a room does at its start, that is once, and not for an event.
    freeze()
    stop, started_s = asyncio.Event(), time.process_time()
    running = asyncio.create_task(run(stop))
    async with asyncio.timeout(_WITHIN_S):
        while not done() and not running.done():
            await asyncio.wait([running], timeout=_LOOK_S)
    used_s = time.process_time() - started_s
    stop.set()
    await running
    return used_s


if __name__ == "__main__":
    asyncio.run(main())
