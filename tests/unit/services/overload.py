"""A pipeline with members of known speed, driven at any rate in virtual time through the whole hot path."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
from tests.unit.services.virtual_time import START_S, LoopClock

from guidevane import Degrade, Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.worker import Limits, Worker
from guidevane.services.inference.lanes import Lane
from guidevane.services.inference.members import Answer
from guidevane.services.inference.replica import Said
from guidevane.services.inference.service import Inference
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import hot_stages

READING = {
    "type": "record",
    "name": "mill.reading",
    "fields": [
        {"name": "sensor", "type": "string"},
        {"name": "value", "type": "double"},
        {"name": "at_us", "type": "long"},
        {"name": "site", "type": "string", "default": "north"},
    ],
}
PIPELINE = Pipeline(
    name="mill",
    event=Event("mill.reading.v1", schema=READING, key="sensor", time="at_us", protected=("site",)),
    features=[Numeric("value")],
    ensemble=Ensemble([Member("quick", "m:quick"), Member("deep", "m:deep")], quorum=2),
    decision=Threshold(0.5, positive="stop", negative="go"),
    slo=Latency(within_ms=900),
    degrade=Degrade(level=1),
)


class Timed:
    """Members that compute for as long as their line says, each with replicas of its own; scores are always 0.5.

    ``replicas`` is how many each has, or how many of which. The room learns of them where it is attended (``attend``).
    """

    def __init__(
        self, lines: Mapping[str, tuple[float, float]], clock: LoopClock, replicas: int | Mapping[str, int] = 1
    ) -> None:
        self.lines = lines
        self.replicas = dict.fromkeys(lines, replicas) if isinstance(replicas, int) else replicas
        self.turns = {name: asyncio.Semaphore(each) for name, each in self.replicas.items()}
        self.rows: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.known: Callable[[str], int] = lambda _: 0
        self.lanes = {name: Lane(self._call, clock, functools.partial(self._replicas, name)) for name in lines}

    def attend(self, inference: Inference) -> None:
        """As where Serve tells how many replicas there are."""
        self.known = inference.expecting.replicas = self.replicas.__getitem__
        for lane in self.lanes.values():
            lane.most = lambda: inference.knobs.max_batch

    async def ask(self, member: str, matrix: np.ndarray) -> Answer:
        return await self.lanes[member].ask(member, matrix)

    def _replicas(self, name: str) -> int:
        return self.known(name)

    async def _call(self, names: tuple[str, ...], matrix: np.ndarray) -> dict[str, Said]:
        (member,) = names
        base_s, per_row_s = self.lines[member]
        busy_s = base_s + per_row_s * len(matrix)
        self.rows[member] += len(matrix)
        self.calls[member] += 1
        async with self.turns[member]:
            await asyncio.sleep(busy_s)
        return {member: Said(np.full(len(matrix), 0.5), f"{member}/1", busy_s)}


@dataclass
class Played:
    """What became of the events: by id, the outcome and how long after its event time it was decided."""

    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    order: dict[bytes, list[str]] = field(default_factory=dict)
    written: int = 0
    telemetry: dict[str, float] = field(default_factory=dict)
    members: Timed | None = None

    def outcomes(self) -> Counter[str]:
        return Counter(each["outcome"] for each in self.decisions.values())

    def good(self, within_s: float) -> int:
        """Return how many were answered by a model, in time."""
        return sum(
            each["outcome"] in {"full", "degraded"} and self.took_s[event_id] <= within_s
            for event_id, each in self.decisions.items()
        )

    def share(self, site: str, outcomes: set[str]) -> float:
        there = [each["outcome"] for each in self.decisions.values() if each["protected"]["site"] == site]
        return sum(outcome in outcomes for outcome in there) / len(there)


def events(
    rate_per_s: float, seconds: float, *, site: Callable[[int], str] = lambda _: "north", seed: int = 1
) -> list[tuple[float, dict[str, Any]]]:
    """Return what happens: (seconds from the start, event), a Poisson process."""
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.exponential(1 / rate_per_s, int(rate_per_s * seconds)))
    # What comes together travels together, which spares the test a flight for each event.
    at_s = np.ceil(at_s * 25) / 25
    return [
        (float(at), {"sensor": f"s{index % 37}", "value": 1.0, "site": site(index)}) for index, at in enumerate(at_s)
    ]


async def play(
    happens: list[tuple[float, dict[str, Any]]],
    lines: Mapping[str, tuple[float, float]],
    *,
    pipeline: Pipeline = PIPELINE,
    late_s: Callable[[int], float] = lambda _: 0.0,
    replicas: int | Mapping[str, int] = 1,
    max_batch: int = 32,
    replicas_known: bool = False,
    calls: int | None = None,
    **degrade: Any,
) -> Played:
    """Send each event when it happened (``late_s`` later) and wait until all are decided.

    ``calls`` is what a controller says may be under way at once, ``None`` where there is none.
    """
    if degrade:
        pipeline = replace(pipeline, degrade=replace(pipeline.degrade, **degrade))
    clock, codec = LoopClock(), Codec(Catalogue([pipeline.event]))
    log, metrics = MemoryLog(partitions=4, clock=clock), Metrics("mill", "t", "t")
    members = Timed(lines, clock, replicas)
    stages = hot_stages(pipeline, members, codec, clock=clock, metrics=metrics)
    inference = stages[2].handle
    inference.knobs.max_batch = max_batch
    if calls is not None:
        inference.knobs.calls, inference.knobs.told = calls, True
    if replicas_known:
        members.attend(inference)
    worker = Worker(
        stages, log=log, dlq=pipeline.topics.dlq, group="t", instance="t", clock=clock, metrics=metrics,
        health=Health(clock), limits=Limits(),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    start_s = clock.monotonic_s() + 1.0
    sends = sorted((at_s + late_s(index), at_s, index, body) for index, (at_s, body) in enumerate(happens))
    for send_s, at_s, index, body in sends:
        if (wait_s := start_s + send_s - clock.monotonic_s()) > 0:
            await asyncio.sleep(wait_s)
        value = orjson.dumps({**body, "at_us": round((START_S + start_s + at_s) * 1e6)})
        message = Message(body["sensor"].encode(), value, (("event_id", b"%d" % index),))
        await log.append(pipeline.topics.events, index % 37 % 4, [message])
    async with log.arrived:
        await log.arrived.wait_for(
            lambda: sum(each.stable for each in log.topic(pipeline.topics.decisions)) >= len(happens)
        )
    stop.set()
    await running
    decode, played = codec.decoder("decision"), Played(members=members, telemetry=metrics.drain(0)["counters"])
    for record in log.records(pipeline.topics.decisions):
        decision = decode(record.value, record.headers)
        played.written += 1
        played.decisions.setdefault(decision["event_id"], decision)
        played.took_s.setdefault(decision["event_id"], (record.timestamp_us - decision["event_time_us"]) / 1e6)
        played.order.setdefault(record.key, []).append(decision["event_id"])
    return played
