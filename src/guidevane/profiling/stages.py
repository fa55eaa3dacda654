"""What the stages around the members cost: the real handlers, fused in this process, over a log in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.errors import Misconfigured
from guidevane.log import Fetch, Message
from guidevane.log.memory import MemoryLog
from guidevane.profiling.measured import StageCost
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.worker import Limits, Worker
from guidevane.services.inference.members import Answer
from guidevane.telemetry import names
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics, Series
from guidevane.testing import hot_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.events import Features
    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.members import Vectors

_STAGES = ("ingest", "preprocess", "postprocess")
_LEAST_EVENTS = 64
_ROUNDS = 8
_WITHIN_S = 60.0


class _AtOnce:
    """Members that answer at once."""

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        return Answer(np.full(len(matrix), 0.5), f"{member}/profile", 1e-9)


async def stage_costs(
    pipeline: Pipeline,
    event: Callable[[int], Mapping[str, Any]],
    batches: Sequence[int],
    progress: Callable[[str, float | None], None],
) -> tuple[list[StageCost], Vectors]:
    """Return each stage's cost by batch size, and the vectors float32[n, width] that the events became.

    ``event`` makes the event of a number, each another one. Raises ``Misconfigured`` where the pipeline rejects them.
    """
    costs: dict[str, dict[int, float]] = {name: {} for name in _STAGES}
    vectors: list[bytes] = []
    number = 0
    for done, batch in enumerate(batches):
        progress(f"stages: batches of {batch}", done / len(batches))
        count = max(_LEAST_EVENTS, batch * _ROUNDS)
        turns = []
        for _ in range(2):
            turns.append(await _drained(pipeline, [event(number + n) for n in range(count)], batch))
            number += count
        # The first one found everything cold.
        seconds, vectors = turns[-1]
        for name in _STAGES:
            costs[name][batch] = seconds[name]
    progress("stages: measured", 1.0)
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)
    return [StageCost(name, costs[name]) for name in _STAGES], matrix


async def _drained(
    pipeline: Pipeline, events: Sequence[Mapping[str, Any]], batch: int
) -> tuple[dict[str, float], list[bytes]]:
    """Return the mean seconds of a batch by stage, and the vectors."""
    clock, codec = SystemClock(), Codec(Catalogue([pipeline.event]))
    log, metrics = MemoryLog(partitions=1, clock=clock), Metrics(pipeline.name, "profile", "0")
    topics = pipeline.topics
    encode = codec.encoder(pipeline.event.name, version=pipeline.event.version)
    await log.append(topics.events, 0, [Message(None, encode(each)) for each in events])
    worker = Worker(
        hot_stages(pipeline, _AtOnce(), codec, clock=clock, metrics=metrics),
        log=log, dlq=topics.dlq, group="profile", instance="0", clock=clock, metrics=metrics, health=Health(clock),
        limits=Limits(fetch=Fetch(max_records=batch), poll_s=0.01, linger_s=0.0),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))

    def done() -> bool:
        return sum(part.stable for name in (topics.decisions, topics.dlq) for part in log.topic(name)) >= len(events)

    try:
        async with asyncio.timeout(_WITHIN_S), log.arrived:
            await log.arrived.wait_for(done)
    finally:
        stop.set()
        await running
    decode = codec.decoder("features")
    vectors: list[Features] = [decode(each.value, each.headers) for each in log.records(topics.features)]  # type: ignore[misc]
    if not vectors:
        why = reasons(log.records(topics.dlq)[0])
        raise Misconfigured(
            f"{pipeline.name} takes none of the events that it was given ({why}) → give it recorded ones: "
            "a module `data` beside the pipeline, whose load() has len() and event() as those of the examples"
        )
    return {name: _mean_s(metrics, name, batch) for name in _STAGES}, [each["vector"] for each in vectors]


def _mean_s(metrics: Metrics, stage: str, batch: int) -> float:
    """Return the seconds of one full batch: those of the largest class, by their records."""
    counters = metrics.snapshot().counters
    labels = (("station", stage), ("size", str(1 << (batch - 1).bit_length())))
    seconds = counters[Series(names.SERVED_SECONDS_TOTAL, labels)]
    return seconds / counters[Series(names.SERVED_RECORDS_TOTAL, labels)] * batch
