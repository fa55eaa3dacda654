"""What a user needs to test a pipeline of his own: no broker, no Ray, no waiting.

>>> import asyncio
>>> from guidevane.testing import run_pipeline
>>> from guidevane.loading import load_pipeline
"""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.contract import Contract
from guidevane.errors import Retryable
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.poison import Poison, poison
from guidevane.registry import Registry, Tiled, load
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.redrive import withdrawn
from guidevane.runtime.worker import Limits, Worker
from guidevane.services.inference.members import Answer, MemberFailed
from guidevane.services.inference.service import Inference, inference_stage
from guidevane.services.ingest.service import Ingest, ingest_stage
from guidevane.services.postprocess.service import Postprocess, postprocess_stage
from guidevane.services.preprocess.service import Preprocess, preprocess_stage
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.events import Decision
    from guidevane.log import Log
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Stage

__all__ = ["Decided", "LocalMembers", "ManualClock", "MemoryLog", "Poison", "hot_stages", "poison", "run_pipeline"]


@dataclass(slots=True)
class ManualClock:
    """A clock that goes when it is told to.

    >>> clock = ManualClock(now_s=100.0)
    >>> clock.advance(2.5)
    >>> clock.now_us(), clock.monotonic_s()
    (102500000, 102.5)
    """

    now_s: float = 1_700_000_000.0

    def now_us(self) -> int:
        """Return the time set, in microseconds."""
        return round(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        """Return the time set, in seconds."""
        return self.now_s

    def advance(self, by_s: float) -> None:
        """Let time pass."""
        self.now_s += by_s


class LocalMembers:
    """Members in this process, loaded as a replica loads them."""

    def __init__(self, pipeline: Pipeline) -> None:
        registry = Registry(pipeline.models) if pipeline.models is not None else None
        self._members: dict[str, tuple[Tiled, NDArray[np.intp]]] = {}
        for member in pipeline.ensemble.deployed:
            stored = member.model.startswith("models:") and registry is not None
            source = registry.resolve(member.model) if stored and registry is not None else member.model
            predictor = load(source, device="cpu", autocast=member.autocast, compiled=member.compile)
            self._members[member.name] = (Tiled(predictor, member.tile), pipeline.vector.places(member.inputs))

    async def ask(self, member: str, matrix: NDArray[np.float32]) -> Answer:
        """Return the member's answer; what its code raises becomes ``MemberFailed``, as behind Serve."""
        tiled, places = self._members[member]
        started = time.perf_counter()
        try:
            scores = tiled.predict(np.ascontiguousarray(matrix[:, places]))
        except Retryable:
            raise
        except Exception as raised:
            raise MemberFailed(f"{member}: {raised!r:.200}") from raised
        return Answer(scores, tiled.version, time.perf_counter() - started)


def hot_stages(
    pipeline: Pipeline,
    members: Any,
    codec: Codec,
    *,
    clock: Clock,
    metrics: Metrics,
    secret: bytes = b"test" * 8,
    log: Log | None = None,
) -> list[Stage]:
    """Return the four stages of the hot path, as the rooms build them; with ``log``, letters sent again are known."""
    letters = None if log is None else functools.partial(withdrawn, log, pipeline.topics)
    contract = Contract(pipeline.event, codec)
    return [
        ingest_stage(Ingest(pipeline, contract, codec, clock=clock, metrics=metrics, secret=secret, letters=letters)),
        preprocess_stage(Preprocess(pipeline, codec)),
        inference_stage(Inference(pipeline, members, codec, clock=clock, metrics=metrics)),
        postprocess_stage(Postprocess(pipeline, codec, clock=clock, metrics=metrics)),
    ]


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of the events: decisions by event id, dead letters with their reasons, and the log itself."""

    decisions: dict[str, Decision]
    dead_letters: list[dict[str, str]]
    log: MemoryLog = field(repr=False)


async def run_pipeline(
    pipeline: Pipeline,
    events: Sequence[Mapping[str, object] | bytes | Message],
    *,
    members: Any = None,
    clock: Clock | None = None,
    log: MemoryLog | None = None,
    metrics: Metrics | None = None,
    within_s: float = 30.0,
) -> Decided:
    """Send events (dicts become JSON, bytes and messages go as they are) through the hot path, in this process.

    With ``log``, go on with one that was used before, whatever is new on its events topic; its partitions are its own.
    ``metrics`` then hold what a room would tell of itself.
    Raises ``TimeoutError`` where not every event has its outcome after ``within_s``.
    """
    clock = clock or ManualClock()
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    codec = Codec(catalogue)
    log = log or MemoryLog(partitions=1, clock=clock)
    topics = pipeline.topics
    for event in events:
        await log.append(topics.events, 0, [event if isinstance(event, Message) else Message(None, _bytes(event))])
    metrics = metrics or Metrics(pipeline.name, "test", "test")
    stages = hot_stages(pipeline, members or LocalMembers(pipeline), codec, clock=clock, metrics=metrics, log=log)
    worker = Worker(
        stages,
        log=log, dlq=topics.dlq, group=f"{pipeline.name}.test", instance="test", clock=clock, metrics=metrics,
        health=Health(clock), limits=Limits(poll_s=0.01, commit_every_s=0.0, gather_s=0.0, linger_s=0.0),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        await _until_committed(
            log, f"{pipeline.name}.test", topics.events, len(log.records(topics.events)), running, within_s
        )
    finally:
        stop.set()
        await running
    decode = codec.decoder("decision")
    decisions: dict[str, Decision] = {}
    for record in log.records(topics.decisions):
        body: Any = decode(record.value, record.headers)
        decisions.setdefault(body["event_id"], body)
    return Decided(decisions, [reasons(record) for record in log.records(topics.dlq)], log)


async def _until_committed(
    log: Log, group: str, topic: str, count: int, running: asyncio.Task[None], within_s: float
) -> None:
    assert isinstance(log, MemoryLog)  # noqa: S101 - narrows the type; nothing else is passed
    async with asyncio.timeout(within_s):
        while not running.done():
            places = log.groups.get(group)
            done = sum(c.offset for p, c in places.places.items() if p.topic == topic) if places else 0
            if done >= count:
                return
            await asyncio.sleep(0.002)
    await running


def _bytes(event: Mapping[str, object] | bytes) -> bytes:
    return event if isinstance(event, bytes) else orjson.dumps(event)
