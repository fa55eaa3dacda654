"""``python -m loadtests.telemetry``: what share of the hot path's CPU telemetry takes; one JSON file.

The four stages of the example pipeline run fused in this process, models and all, over an in-memory log: no broker and
no Ray stand between the two sides, which makes telemetry's share larger than it is in a room. One side has a room's
metrics and their publication each second, the other metrics that do nothing. Both drain the same events in batches of
``--batch`` records, in turns; each pair of turns gives one ratio of CPU seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.log import Fetch, Message
from guidevane.log.memory import MemoryLog
from guidevane.pipelines.employment import pipeline
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.publisher import Publisher
from guidevane.testing import LocalMembers, hot_stages
from loadtests.stream.events import arrivals_us, encoded
from loadtests.stream.report import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.stream.events import Sendable

_PARTITIONS = 12
_OUT = Path("loadtests/results/telemetry/latest.json")
_WITHIN_S = 120.0


class Silent(Metrics):
    """Metrics that count nothing."""

    def count(self, name: str, n: float = 1, /, **labels: str) -> None:
        """Do nothing."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Do nothing."""

    def observe(self, name: str, values: Any, /, **labels: str) -> None:
        """Do nothing."""

    def arrive(self, stage: str, happened_us: Any, now_us: int) -> None:
        """Do nothing."""


async def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.telemetry", description=__doc__)
    asked.add_argument("--rounds", type=int, default=12, help="pairs of turns, by batch size")
    asked.add_argument("--events", type=int, default=2_000, help="in each turn")
    asked.add_argument("--batch", type=int, nargs="+", default=[16, 128], help="records that one fetch brings")
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    # One thread, so that CPU seconds are those of the loop.
    torch.set_num_threads(1)
    members = LocalMembers(pipeline)
    events = encoded("telemetry", arrivals_us(500.0, told.events, seed=1) + time.time_ns() // 1000, partitions=1)
    found = {}
    for batch in told.batch:
        turns: dict[str, list[float]] = {"with": [], "without": []}
        for turn in range(told.rounds + 1):
            for side in ("with", "without") if turn % 2 else ("without", "with"):
                used_s = await _drained(events, members, batch, watched=side == "with")
                if turn:
                    # The first turns find everything cold.
                    turns[side].append(used_s)
        found[str(batch)] = summary(turns["with"], turns["without"], told.events)
        sys.stdout.write(f"batches of {batch}: {json.dumps(found[str(batch)])}\n")
    written = {
        "events": told.events,
        "by_batch": found,
        "load_average": [round(x, 1) for x in os.getloadavg()],
    } | about()
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(written, indent=1) + "\n")


def summary(watched_s: Sequence[float], silent_s: Sequence[float], events: int) -> dict[str, float]:
    """Return the median share of CPU that telemetry takes, with a 95 % bootstrap interval over the pairs of turns.

    >>> summary([1.02, 1.02], [1.0, 1.0], 1000)["share"]
    0.0196
    """
    shares = 1 - np.asarray(silent_s) / np.asarray(watched_s)
    drawn = np.random.default_rng(1).integers(0, len(shares), (2_000, len(shares)))
    low, high = np.percentile(np.median(shares[drawn], axis=1), [2.5, 97.5])
    return {
        "share": round(float(np.median(shares)), 4),
        "share_low": round(float(low), 4),
        "share_high": round(float(high), 4),
        "us_per_event_with": round(statistics.median(watched_s) / events * 1e6, 1),
        "us_per_event_without": round(statistics.median(silent_s) / events * 1e6, 1),
    }


async def _drained(events: Sequence[Sendable], members: LocalMembers, batch: int, *, watched: bool) -> float:
    """Return the CPU seconds of this process while the hot path answers all events."""
    clock = SystemClock()
    codec = Codec(Catalogue([pipeline.event]))
    log = MemoryLog(partitions=_PARTITIONS, clock=clock)
    topics = pipeline.topics
    for index, event in enumerate(events):
        await log.append(topics.events, index % _PARTITIONS, [Message(event.key, event.value)])
    metrics = (Metrics if watched else Silent)(pipeline.name, "fused", "bench")
    worker = Worker(
        hot_stages(pipeline, members, codec, clock=clock, metrics=metrics),
        log=log, dlq=topics.dlq, group="bench", instance="bench", clock=clock, metrics=metrics,
        health=Health(clock), limits=Limits(fetch=Fetch(max_records=batch)),
    )  # fmt: skip
    stop = asyncio.Event()
    publisher = Publisher(metrics, await log.producer(name="telemetry"), codec.encoder("telemetry"), clock)
    started_s = time.process_time()
    running = [asyncio.create_task(worker.run(stop))]
    if watched:
        running.append(asyncio.create_task(publisher.run(stop)))
    async with asyncio.timeout(_WITHIN_S), log.arrived:
        await log.arrived.wait_for(lambda: sum(each.stable for each in log.topic(topics.decisions)) >= len(events))
    used_s = time.process_time() - started_s
    stop.set()
    await asyncio.gather(*running)
    return used_s


if __name__ == "__main__":
    asyncio.run(main())
