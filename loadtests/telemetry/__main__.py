"""``python -m loadtests.telemetry``: what share of the hot path's CPU telemetry takes; one JSON file.

The four stages of the example pipeline run fused in this process over an in-memory log; no broker and no Ray stand
between the sides, which makes telemetry's share larger than it is in a room. One side has a room's metrics and their
publication each second; on the other the engine measures nothing and metrics do nothing. Both drain the same events
in batches of ``--batch`` records, in many short turns, with members that answer at once, for a model's computing would
drown the difference. Who else uses the machine only ever adds to a turn, so each side counts by its quickest tenth;
the difference is held against the same path with the models.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import fields
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
from guidevane.runtime.flight import Route
from guidevane.runtime.worker import Limits, Worker
from guidevane.services.inference.members import Answer
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.publisher import Publisher
from guidevane.testing import LocalMembers, hot_stages
from loadtests.stream.events import arrivals_us, encoded
from loadtests.stream.report import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.services.inference.members import Members, Vectors
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


class Mute(Route):
    """A route that measures nothing."""

    def _measure(self, stage: Any, size: int, started_s: float) -> None:
        pass

    def _measure_hop(self, index: int, records: Any, started_us: int, waited_s: float) -> None:
        pass

    def _measure_ages(self, timed: Any) -> None:
        pass


class Quick:
    """Members that answer at once."""

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the same score for everybody."""
        return Answer(np.full(len(matrix), 0.5), f"{member}/1", 0.0)


async def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.telemetry", description=__doc__)
    asked.add_argument("--rounds", type=int, default=60, help="pairs of turns, by batch size")
    asked.add_argument("--events", type=int, default=500, help="in each turn")
    asked.add_argument("--batch", type=int, nargs="+", default=[16, 128], help="records that one fetch brings")
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    # One thread, so that CPU seconds are those of the loop.
    torch.set_num_threads(1)
    models, quick = LocalMembers(pipeline), Quick()
    events = encoded("telemetry", arrivals_us(500.0, told.events, seed=1) + time.time_ns() // 1000, partitions=1)
    found = {}
    for batch in told.batch:
        turns: dict[str, list[float]] = {"with": [], "without": []}
        for turn in range(told.rounds + 1):
            for side in ("with", "without") if turn % 2 else ("without", "with"):
                used_s = await _drained(events, quick, batch, watched=side == "with")
                if turn:
                    # The first turns find everything cold.
                    turns[side].append(used_s)
        whole_s = [await _drained(events, models, batch, watched=True) for _ in range(10)]
        found[str(batch)] = summary(turns["with"], turns["without"], whole_s, told.events)
        sys.stdout.write(f"batches of {batch}: {json.dumps(found[str(batch)])}\n")
    written = {
        "events": told.events,
        "by_batch": found,
        "load_average": [round(x, 1) for x in os.getloadavg()],
    } | about()
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(written, indent=1) + "\n")


def summary(
    watched_s: Sequence[float], silent_s: Sequence[float], whole_s: Sequence[float], events: int
) -> dict[str, float]:
    """Return what telemetry takes of an event's CPU: microseconds, and its share of the path with models.

    Each side counts by the quickest tenth of its turns; the 95 % interval is a bootstrap over the pairs of turns.

    >>> summary([1.02, 1.02], [1.0, 1.0], [2.0], 1000)["share"]
    0.01
    """
    turns_us = np.array([watched_s, silent_s]) / events * 1e6
    drawn = np.random.default_rng(1).integers(0, turns_us.shape[1], (2_000, turns_us.shape[1]))
    took_us = float(-np.diff(np.percentile(turns_us, 10, axis=1))[0])
    low, high = np.percentile(-np.diff(np.percentile(turns_us[:, drawn], 10, axis=2), axis=0), [2.5, 97.5])
    whole_us = float(np.percentile(whole_s, 10)) / events * 1e6
    return {
        "telemetry_us": round(took_us, 2),
        "telemetry_us_low": round(float(low), 2),
        "telemetry_us_high": round(float(high), 2),
        "without_models_us": round(float(np.percentile(turns_us[0], 10)), 1),
        "with_models_us": round(whole_us, 1),
        "share": round(took_us / whole_us, 4),
        "share_high": round(float(high) / whole_us, 4),
    }


async def _drained(events: Sequence[Sendable], members: Members, batch: int, *, watched: bool) -> float:
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
    if not watched:
        worker.route = Mute(**{each.name: getattr(worker.route, each.name) for each in fields(Route)})
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
