"""``python -m loadtests.overload``: half again as many events as the members can answer; one JSON file.

A real Ray Serve with emulated members (they wait; nothing here was measured on an accelerator), the four stages fused
in this process over a log in memory. First the members' own capacity is measured: calls of 64 rows, four at a time.
Then the same open loop (Poisson, 1.5 times that) is played at level 1 (by slack), at level 1 with one member as quorum
(who is late is left out), and at level 0 (everything, as it comes). ``good`` are events that a model answered in time,
``slow_busy`` is the share of the time in which the slow member computed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.local.ray import LocalRay
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.garbage import freeze
from guidevane.runtime.worker import Limits, Worker
from guidevane.services.inference.service import Inference
from guidevane.services.inference.warming import warm_up
from guidevane.telemetry import names
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics, Series
from guidevane.testing import hot_stages
from loadtests.emulated import observed
from loadtests.overload.emulated import pipeline
from loadtests.stream.report import about

if TYPE_CHECKING:
    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.deployment import ServedMembers
    from guidevane.services.inference.members import Members

_PARTITIONS = 12
_OUT = Path("loadtests/results/overload/latest.json")
_ROWS, _CALLS = 64, 4
_ENDS_WITHIN_S = 120.0
_MEASURED_S = 3.0
_PLAYED: dict[str, dict[str, Any]] = {
    "by_slack": {"level": 1, "quorum": 2},
    "by_slack_quorum_1": {"level": 1, "quorum": 1},
    "as_it_comes": {"level": 0, "quorum": 2},
}


async def main() -> None:
    """Play, print, write."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.overload", description=__doc__)
    asked.add_argument("--seconds", type=float, default=20.0, help="of each open loop")
    asked.add_argument("--factor", type=float, default=1.5, help="of the members' capacity")
    asked.add_argument("--only", nargs="+", choices=list(_PLAYED), default=list(_PLAYED))
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="guidevane-overload-") as folder:
        ray = LocalRay(Path(folder), pythonpath=[str(Path.cwd())], die_with_parent=True)
        await ray.start()
        try:
            await ray.wait_ready(180.0)
            # Ray reads them when it is imported, and nothing has imported it yet.
            os.environ.update(ray.env())
            from guidevane.services.inference import deployment  # noqa: PLC0415

            deployment.connect()
            await deployment.deploy(pipeline)
            members = deployment.ServedMembers(pipeline)
            able_per_s = await _capacity(members)
            found = {name: await _play(name, members, told.factor * able_per_s, told.seconds) for name in told.only}
            for each in found.values():
                each["of_capacity"] = round(each["good"] / (able_per_s * told.seconds), 3)
        finally:
            await ray.stop()
    written = {"capacity_per_s": round(able_per_s, 1), "factor": told.factor, "seconds": told.seconds, "played": found}
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(written | about(), indent=1) + "\n")
    sys.stdout.write(f"{told.out}: {json.dumps(written, indent=1)}\n")


async def _capacity(members: Members) -> float:
    """Return how many rows a second the slow member answers, with some calls standing ready."""
    nothing = [np.zeros((_ROWS, 1), dtype=np.float32) for _ in range(_CALLS)]
    for each in nothing:
        await members.ask("slow", each)
    until_s, rows = time.monotonic() + _MEASURED_S, 0

    async def call(matrix: np.ndarray) -> None:
        nonlocal rows
        while time.monotonic() < until_s:
            await members.ask("slow", matrix)
            rows += len(matrix)

    await asyncio.gather(*(call(each) for each in nothing))
    return rows / (time.monotonic() - until_s + _MEASURED_S)


async def _play(name: str, members: ServedMembers, rate_per_s: float, seconds: float) -> dict[str, Any]:
    chosen = _PLAYED[name]
    played: Pipeline = replace(
        pipeline,
        ensemble=replace(pipeline.ensemble, quorum=chosen["quorum"]),
        degrade=replace(pipeline.degrade, level=chosen["level"]),
    )
    clock, codec = SystemClock(), Codec(Catalogue([played.event]))
    log, metrics = MemoryLog(partitions=_PARTITIONS, clock=clock), Metrics(played.name, "fused", "bench")
    topics = played.topics
    stages = hot_stages(played, members, codec, clock=clock, metrics=metrics)
    (inference,) = (stage.handle for stage in stages if isinstance(stage.handle, Inference))
    members.attend(inference)
    # As the room does before its first event.
    await warm_up(played, members, inference.expecting, clock)
    freeze()
    worker = Worker(
        stages,
        log=log, dlq=topics.dlq, group="bench", instance="bench", clock=clock, metrics=metrics, health=Health(clock),
        limits=Limits(),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    due_s = np.cumsum(np.random.default_rng(1).exponential(1 / rate_per_s, int(rate_per_s * seconds)))
    start_us = clock.now_us() + 500_000
    for index, due in enumerate((start_us + due_s * 1e6).astype(np.int64).tolist()):
        if (wait_us := due - clock.now_us()) > 0:
            await asyncio.sleep(wait_us / 1e6)
        value = observed(index, str(index), due)
        message = Message(None, orjson.dumps(value), (("event_id", b"%d" % index),))
        await log.append(topics.events, index % 97 % _PARTITIONS, [message])
    async with asyncio.timeout(_ENDS_WITHIN_S), log.arrived:
        await log.arrived.wait_for(lambda: sum(each.stable for each in log.topic(topics.decisions)) >= len(due_s))
    took_s = (clock.now_us() - start_us) / 1e6
    stop.set()
    await running
    counted = {Series.of(key): value for key, value in metrics.drain(clock.now_us())["counters"].items()}
    busy_s = sum(
        value
        for series, value in counted.items()
        if series.name == names.MEMBER_BUSY_SECONDS_TOTAL and ("member", "slow") in series.labels
    )
    return _judged(played, log, codec, len(due_s)) | {"slow_busy": round(busy_s / took_s, 3)}


def _judged(played: Pipeline, log: MemoryLog, codec: Codec, events: int) -> dict[str, Any]:
    decode = codec.decoder("decision")
    outcomes: dict[str, int] = {}
    good, ids = 0, set()
    for record in log.records(played.topics.decisions):
        decision = decode(record.value, record.headers)
        ids.add(decision["event_id"])
        outcomes[decision["outcome"]] = outcomes.get(decision["outcome"], 0) + 1
        in_time = record.timestamp_us - decision["event_time_us"] <= played.slo.within_us
        good += in_time and decision["outcome"] in {"full", "degraded"}
    return {"events": events, "decided_once": len(ids), "outcomes": outcomes, "good": good}


if __name__ == "__main__":
    asyncio.run(main())
