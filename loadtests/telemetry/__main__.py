"""``python -m loadtests.telemetry``: what share of the hot path's CPU telemetry takes; one JSON file.

The four stages of the example pipeline run fused in this process over an in-memory log; no broker and no Ray stand
beside them, which makes telemetry's share larger than in a room. A machine that others use varies by more from run
to run than telemetry takes, so it is not a difference of two runs: everything that one run measures and counts is
recorded with its arguments, and done again alone, ``--rounds`` times; the quickest round counts, for others only ever
add. The same holds for draining and encoding it once a second. The path itself, models and all, counts by its
quickest tenth. What telemetry costs the path's caches is not seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.log import Fetch, Message
from guidevane.log.memory import MemoryLog
from guidevane.pipelines.employment import pipeline
from guidevane.runtime.timing import Meter, Times
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import LocalMembers, hot_stages
from loadtests.stream.events import arrivals_us, encoded
from loadtests.stream.report import about

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests.stream.events import Sendable

    Call = Callable[[Metrics, Any], None]

_PARTITIONS = 12
_OUT = Path("loadtests/results/telemetry/latest.json")
_WITHIN_S = 120.0


class Recording(Metrics):
    """Metrics that also remember each call."""

    def __init__(self) -> None:
        super().__init__(pipeline.name, "fused", "bench")
        self.calls: list[Call] = []
        # What the engine measures is remembered whole, with all that it does for it.
        self.inside = False

    def count(self, name: str, n: float = 1, /, **labels: str) -> None:
        """Count, and remember it."""
        super().count(name, n, **labels)
        self._remember(lambda metrics, _: metrics.count(name, n, **labels))

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set, and remember it."""
        super().gauge(name, value, **labels)
        self._remember(lambda metrics, _: metrics.gauge(name, value, **labels))

    def observe(self, name: str, values: Any, /, **labels: str) -> None:
        """Observe, and remember it."""
        super().observe(name, values, **labels)
        self._remember(lambda metrics, _: metrics.observe(name, values, **labels))

    def _remember(self, call: Call) -> None:
        if not self.inside:
            self.calls.append(call)


class Recorded(Meter):
    """What the engine measures by, that also remembers what it is told."""

    def times(self, records: Any) -> Times:
        """Make the times of a flight, and remember it."""
        return cast("Times", self._noted("times", records))

    def learned(self, times: Times, messages: Any) -> Times:
        """Add what answers say, and remember it."""
        return cast("Times", self._noted("learned", times, messages))

    def came(self, stage: str, times: Times, now_us: int) -> None:
        """Measure, and remember it."""
        self._noted("came", stage, times, now_us)

    def waited(self, stage: str, waited_s: float) -> None:
        """Measure, and remember it."""
        self._noted("waited", stage, waited_s)

    def handled(self, stage: str, records: int, took_s: float) -> None:
        """Measure, and remember it."""
        self._noted("handled", stage, records, took_s)

    def counted(self, stage: str, **of: int) -> None:
        """Count, and remember it."""
        self._noted("counted", stage, **of)

    def answered(self, stage: str, handled: Times, spoken: Times, *, first: bool) -> None:
        """Measure, and remember it."""
        self._noted("answered", stage, handled, spoken, first=first)

    def acknowledged(self, stage: str, took_s: float) -> None:
        """Measure, and remember it."""
        self._noted("acknowledged", stage, took_s)

    def _noted(self, name: str, *told: Any, **named: Any) -> object:
        recording = self.metrics
        assert isinstance(recording, Recording)  # noqa: S101 - narrows the type
        measure = getattr(Meter, name)
        recording.calls.append(lambda _, meter: measure(meter, *told, **named))
        recording.inside = True
        made: object = measure(self, *told, **named)
        recording.inside = False
        return made


async def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.telemetry", description=__doc__)
    asked.add_argument("--rounds", type=int, default=20, help="of doing again what was recorded")
    asked.add_argument("--events", type=int, default=1_000, help="in each run")
    asked.add_argument("--batch", type=int, nargs="+", default=[16, 128], help="records that one fetch brings")
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    # One thread, so that CPU seconds are those of the loop.
    torch.set_num_threads(1)
    members = LocalMembers(pipeline)
    events = encoded("telemetry", arrivals_us(500.0, told.events, seed=1) + time.time_ns() // 1000, partitions=1)
    found = {}
    for batch in told.batch:
        recording = Recording()
        await _drained(events, members, batch, recording)
        whole_s = [await _drained(events, members, batch, Metrics(pipeline.name, "fused", "bench")) for _ in range(10)]
        alone_s, telling_s = _alone_s(recording, told.rounds), _telling_s(recording, told.rounds)
        found[str(batch)] = summary(alone_s, telling_s, whole_s, told.events)
        sys.stdout.write(f"batches of {batch}: {json.dumps(found[str(batch)])}\n")
    load = [round(each, 1) for each in os.getloadavg()]
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps({"by_batch": found, "load_average": load} | about(), indent=1) + "\n")


def summary(alone_s: float, telling_s: float, whole_s: Sequence[float], events: int) -> dict[str, float]:
    """Return what telemetry takes: microseconds an event, milliseconds a second, and the share of the path's CPU.

    >>> summary(0.01, 0.002, [1.0, 1.0], 1000)["share"]
    0.012
    """
    whole_us, took_us = float(np.percentile(whole_s, 10)) / events * 1e6, alone_s / events * 1e6
    return {
        "telemetry_us_per_event": round(took_us, 2),
        "telling_ms_per_second": round(telling_s * 1e3, 2),
        "path_us_per_event": round(whole_us, 1),
        "share": round(took_us / whole_us + telling_s, 4),
    }


def _alone_s(recording: Recording, rounds: int) -> float:
    """Return the CPU seconds of doing again all that was measured and counted."""
    metrics = Metrics(pipeline.name, "fused", "bench")
    meter = Meter(metrics, SystemClock())
    took_s = []
    for _ in range(rounds):
        started_s = time.process_time()
        for call in recording.calls:
            call(metrics, meter)
        took_s.append(time.process_time() - started_s)
    return min(took_s)


def _telling_s(recording: Recording, rounds: int) -> float:
    """Return the CPU seconds of draining and encoding, which is done once a second."""
    encode = Codec(Catalogue()).encoder("telemetry")
    metrics = Metrics(pipeline.name, "fused", "bench")
    meter = Meter(metrics, SystemClock())
    took_s = []
    for _ in range(rounds):
        for call in recording.calls:
            call(metrics, meter)
        started_s = time.process_time()
        encode(metrics.drain(time.time_ns() // 1000))
        took_s.append(time.process_time() - started_s)
    return min(took_s)


async def _drained(events: Sequence[Sendable], members: LocalMembers, batch: int, metrics: Metrics) -> float:
    """Return the CPU seconds of this process while the hot path answers all events."""
    clock = SystemClock()
    codec = Codec(Catalogue([pipeline.event]))
    log = MemoryLog(partitions=_PARTITIONS, clock=clock)
    topics = pipeline.topics
    for index, event in enumerate(events):
        await log.append(topics.events, index % _PARTITIONS, [Message(event.key, event.value)])
    worker = Worker(
        hot_stages(pipeline, members, codec, clock=clock, metrics=metrics),
        log=log, dlq=topics.dlq, group="bench", instance="bench", clock=clock, metrics=metrics,
        health=Health(clock), limits=Limits(fetch=Fetch(max_records=batch)),
    )  # fmt: skip
    if isinstance(metrics, Recording):
        worker.holding.route = replace(worker.route, meter=Recorded(metrics, clock))
    stop = asyncio.Event()
    started_s = time.process_time()
    running = asyncio.create_task(worker.run(stop))
    async with asyncio.timeout(_WITHIN_S), log.arrived:
        await log.arrived.wait_for(lambda: sum(each.stable for each in log.topic(topics.decisions)) >= len(events))
    used_s = time.process_time() - started_s
    stop.set()
    await running
    return used_s


if __name__ == "__main__":
    asyncio.run(main())
