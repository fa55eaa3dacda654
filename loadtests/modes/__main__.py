"""``python -m loadtests.modes``: both delivery modes in one run, in under two minutes; one JSON file.

Each round each mode gets a room, topics and a group of its own. *drained*: so many events at once, CPU seconds of the
room (user and system) until all are seen. *fixed*: an open loop (an event is sent when it is due), from due to
seen by a reader of committed records in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from guidevane.local.kafka import LocalKafka
from guidevane.log import Fetch, Message
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.topics import TopicSpec
from loadtests.stream.report import about

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guidevane.log import Consumer, Producer

MODES = ("effective", "transactional")
PARTITIONS = 12
_SEEN_WITHIN_S = 60.0
_VALUE = bytes(range(200))
_OUT = Path("loadtests/results/modes/latest.json")


async def main() -> None:
    """Measure, print, write."""
    asked = argparse.ArgumentParser(prog="python -m loadtests.modes", description=__doc__)
    asked.add_argument("--rounds", type=int, default=2)
    asked.add_argument("--count", type=int, default=20_000, help="events of a drain")
    asked.add_argument("--rate", type=float, default=500.0, help="events per second of the open loop")
    asked.add_argument("--seconds", type=float, default=12.0, help="of the open loop")
    asked.add_argument("--out", type=Path, default=_OUT)
    told = asked.parse_args()
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory(prefix="guidevane-modes-") as folder:
        kafka = LocalKafka(Path(folder), die_with_parent=True)
        await kafka.start()
        try:
            await kafka.wait_ready()
            for turn in range(told.rounds):
                for mode in MODES if turn % 2 == 0 else MODES[::-1]:
                    made = await _turn(kafka.bootstrap, mode, f"{mode}-{turn}", told)
                    found[mode].append(made)
                    sys.stdout.write(f"{mode:14} {json.dumps(made)}\n")
        finally:
            await kafka.stop()
    result = (
        _summary(found)
        | {"load_average": [round(each, 1) for each in os.getloadavg()], "rate_per_s": told.rate, "drained": told.count}
        | about()
        | {"measured": found}
    )
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{told.out}: {json.dumps(_summary(found))}\n")


async def _turn(bootstrap: str, mode: str, topic: str, told: argparse.Namespace) -> dict[str, float]:
    log = KafkaLog(Connection(bootstrap, compression="none"))
    await log.ensure([TopicSpec(f"{topic}.{kind}", PARTITIONS) for kind in ("events", "out", "dlq")])
    producer = await log.producer(name="generator")
    reader = log.reader([f"{topic}.out"], fetch=Fetch(wait_s=0.002, max_records=5000))
    await reader.start()
    try:
        started_s = time.monotonic()
        async with _room(mode, bootstrap, topic) as room:
            ready_s = time.monotonic() - started_s
            # The first ones find everything cold.
            await _fixed(producer, reader, topic, told.rate, 2.0)
            drain_s, drain_cpu_s = await _drain(producer, reader, room, topic, told.count)
            before = _cpu_s(room)
            took_ms = await _fixed(producer, reader, topic, told.rate, told.seconds)
            fixed_cpu_s = _cpu_s(room) - before
            return {
                "ready_s": round(ready_s, 2),
                "rss_mb": round(room.memory_info().rss / 2**20, 1),
                "drained_per_s": round(told.count / drain_s),
                "drained_per_cpu_s": round(told.count / drain_cpu_s),
                "fixed_per_cpu_s": round(len(took_ms) / fixed_cpu_s),
                "p50_ms": round(float(np.percentile(took_ms, 50)), 1),
                "p99_ms": round(float(np.percentile(took_ms, 99)), 1),
            }
    finally:
        await reader.close()
        await producer.close()
        await log.close()


@asynccontextmanager
async def _room(mode: str, bootstrap: str, topic: str) -> AsyncIterator[psutil.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.modes.room", mode, bootstrap, topic, stdout=asyncio.subprocess.PIPE
    )
    try:
        if child.stdout is None or await child.stdout.readline() != b"ready\n":
            raise SystemExit(f"the {mode} room ended before it was ready: see above")
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        await child.wait()


def _cpu_s(room: psutil.Process) -> float:
    used = room.cpu_times()
    return float(used.user + used.system)


async def _seen(reader: Consumer, count: int) -> list[tuple[int, bytes]]:
    """Return when each of ``count`` outcomes was seen, in microseconds, with its key."""
    found: list[tuple[int, bytes]] = []
    async with asyncio.timeout(_SEEN_WITHIN_S):
        while len(found) < count:
            batches = await reader.fetch(timeout_s=0.05)
            now_us = time.time_ns() // 1000
            found.extend((now_us, record.key or b"") for records in batches.values() for record in records)
    return found


async def _drain(
    producer: Producer, reader: Consumer, room: psutil.Process, topic: str, count: int
) -> tuple[float, float]:
    before, started_s = _cpu_s(room), time.monotonic()
    message = Message(b"drained", _VALUE)
    share = count // PARTITIONS
    for number in range(PARTITIONS):
        await producer.post(f"{topic}.events", number, [message] * (share + (number < count % PARTITIONS)))
    await _seen(reader, count)
    return time.monotonic() - started_s, _cpu_s(room) - before


async def _fixed(producer: Producer, reader: Consumer, topic: str, rate_per_s: float, seconds: float) -> Any:
    """Return how long each event took from due to seen, float64[n] milliseconds."""
    gaps_s = np.random.default_rng(1).exponential(1.0 / rate_per_s, int(rate_per_s * seconds))
    due_us = time.time_ns() // 1000 + 100_000 + (np.cumsum(gaps_s) * 1e6).astype(np.int64)
    seeing = asyncio.create_task(_seen(reader, len(due_us)))
    for index, due in enumerate(due_us.tolist()):
        if (wait_us := due - time.time_ns() // 1000) > 0:
            await asyncio.sleep(wait_us / 1e6)
        await producer.post(f"{topic}.events", index % PARTITIONS, [Message(b"%d" % index, _VALUE)])
    return np.array([(at_us - due_us[int(key)]) / 1e3 for at_us, key in await seeing])


def _summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the medians by mode, and the transactional mode's events per CPU-second by the effective mode's."""
    modes = {
        mode: {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        for mode, turns in found.items()
    }
    plain, whole = modes["effective"], modes["transactional"]
    return {
        **modes,
        "cpu_ratio_drained": round(whole["drained_per_cpu_s"] / plain["drained_per_cpu_s"], 3),
        "cpu_ratio_fixed": round(whole["fixed_per_cpu_s"] / plain["fixed_per_cpu_s"], 3),
        "p99_added_ms": round(whole["p99_ms"] - plain["p99_ms"], 1),
    }


if __name__ == "__main__":
    asyncio.run(main())
