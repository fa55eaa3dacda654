"""One trial: a platform of its own, one contender on one workload, outcomes in a ledger outside Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.demo.replay import Replay
from guidevane.demo.watch import Watch
from guidevane.errors import Retryable
from guidevane.events import Control
from guidevane.ledger import Ledger, percentiles
from guidevane.local.settling import settled
from guidevane.local.tether import tethered
from guidevane.log import Message
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.services.controller.act import ServeScaler
from guidevane.topics import CONTROL
from loadtests.live.emulated import SLO_MS, STARTUP_S, Ticks, graph, pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from numpy.typing import NDArray

    from guidevane.local.platform import Platform

_STANDS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 20.0
_SAMPLE_S = 1.0
_IDLE_S, _IDLE_PER_S = 12.0, 4.0


@dataclass
class Trial:
    """A platform that runs without a controller, and what measures it."""

    platform: Platform
    log: KafkaLog
    codec: Codec
    scaler: ServeScaler
    clock: SystemClock = field(default_factory=SystemClock)

    async def deploy(self, how: str, replicas: Mapping[str, int], batch: int, calls: int) -> None:
        """Deploy the emulated members, so many replicas to begin with; return once they serve.

        ``calls`` batches may be under way at once.
        """
        env = {**os.environ, **self.platform.another("controller", "bench-deploying").env}
        argv = [sys.executable, "-m", "loadtests.live.deploying", how, json.dumps(dict(replicas))]
        await asyncio.to_thread(subprocess.run, argv, env=env, check=True, timeout=120)
        await self.tell("inference", max_batch=float(batch), calls=float(calls))
        async with asyncio.timeout(_STANDS_WITHIN_S):
            # What is waited for happens in Ray.
            while any(  # noqa: ASYNC110
                len(each.ready) != replicas[name] for name, each in (await self.scaler.replicas()).items()
            ):
                await asyncio.sleep(_SAMPLE_S)

    async def idle(self) -> dict[str, float | None]:
        """Return what single events take while nothing else is under way, in ms."""
        await settled(self.clock)
        gap_s = 1 / _IDLE_PER_S
        # The first ones open connections.
        await self.play(np.arange(0.0, 3.0, gap_s))
        found = await self.play(np.arange(0.0, _IDLE_S, gap_s))
        latency: dict[str, float | None] = found["latency_ms"]
        return latency

    @asynccontextmanager
    async def steered(self, rate_per_s: float, most: int) -> AsyncIterator[None]:
        """Have the controller room steer meanwhile.

        It has the members' profile, as ``guidevane profile`` would have written it, and ``rate_per_s`` from the
        controller before it, as every policy of the simulation knows the rate it begins with.
        """
        profile = self.platform.state_dir / "profile.json"
        profile.write_text(json.dumps(graph()))
        await self.tell("plan", rate_per_s=rate_per_s, ready_for_per_s=rate_per_s)
        told = {"MAX_REPLICAS": str(most), "PROFILE": str(profile), "STARTUP_S": str(STARTUP_S), "MAX_CONSUMERS": "1"}
        settings = {f"GUIDEVANE_{name}": value for name, value in told.items()}
        child = self.platform.another("controller", "bench-controller", **settings)
        with child.log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *tethered(list(child.argv)), env={**os.environ, **child.env}, stdout=log, stderr=log
            )
            try:
                async with asyncio.timeout(_STANDS_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
                    while not await _ready(client, str(child.ready_url)):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.2)
                # It compiles its simulation first.
                await settled(self.clock)
                yield
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()

    async def play(self, times: NDArray[np.float64]) -> dict[str, Any]:
        """Send and watch; return the figures."""
        ledger = Ledger()
        watch = Watch(pipeline, self.log, self.codec, self.clock, ledger)
        producer = await self.log.producer(name="bench")
        replay = Replay(
            pipeline=pipeline, source=Ticks(), producer=producer,
            encode=self.codec.encoder(pipeline.event.name, version=1), encode_label=self.codec.encoder("label"),
            ledger=ledger, clock=self.clock, label_delay_s=1.0, run=self.clock.now_us() % 1_000_000_000,
        )  # fmt: skip
        stop = asyncio.Event()
        samples: list[tuple[float, dict[str, int]]] = []
        before = psutil.cpu_times()
        async with asyncio.TaskGroup() as together:
            watching = together.create_task(watch.run(stop))
            await watch.reading.wait()
            sampling = together.create_task(self._sample(samples))
            await replay.play(times)
            sampling.cancel()
            for _ in range(int(_ENDS_WITHIN_S / 0.2)):
                if not ledger.waiting:
                    break
                await asyncio.sleep(0.2)
            stop.set()
            await watching
        busy = _busy(before, psutil.cpu_times())
        await producer.close()
        missed, events = ledger.missed(SLO_MS)
        span_s = float(times[-1])
        counted = [sum(each.values()) for at, each in samples if at <= span_s]
        return {
            "events": events, "missed": missed, "miss": round(missed / events, 6), "lost": ledger.lost,
            "outcomes": ledger.outcomes(), "latency_ms": percentiles(ledger.latencies_ms()),
            "cores_busy": round(busy, 3), "replica_seconds": round(span_s * sum(counted) / max(len(counted), 1), 1),
            "levels": [row["reason"] for row in watch.actions if row["reason"].startswith("level ")],
            "acts": {name: n for name, n in watch.action_counts.items() if name in {"set", "scale", "staff", "failed"}},
            "timeline": [{"at_s": round(at, 1), "replicas": dict(each)} for at, each in samples if at <= span_s],
            "latency_timeline_ms": ledger.timeline(),
        }  # fmt: skip

    async def tell(self, room: str, **settings: float) -> None:
        """Set something as a controller would, so that the next one may change it."""
        now_us = self.clock.now_us()
        control = Control(
            pipeline=pipeline.name, room=room, at_us=now_us, epoch=now_us // 1_000_000, settings=settings,
            actor="controller", reason="bench",
        )  # fmt: skip
        producer = await self.log.producer(name="bench-control")
        message = Message(f"{pipeline.name}/{room}".encode(), self.codec.encode("control", control))
        await producer.send(CONTROL, 0, [message])
        await producer.close()

    async def _sample(self, into: list[tuple[float, dict[str, int]]]) -> None:
        began_s = self.clock.monotonic_s()
        while True:
            with suppress(Retryable):
                # A dashboard that is late: the mean is over the samples that there are.
                found = await self.scaler.replicas()
                counts = {name: len(each.ready) + len(each.starting) for name, each in found.items()}
                into.append((self.clock.monotonic_s() - began_s, counts))
            await asyncio.sleep(_SAMPLE_S)


@asynccontextmanager
async def trial(platform: Platform) -> AsyncIterator[Trial]:
    """Give a trial on a platform that is up."""
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    ends = platform.endpoints
    log = KafkaLog(Connection.told(os.environ, bootstrap=ends.kafka))
    try:
        async with httpx.AsyncClient(base_url=ends.ray_dashboard, trust_env=False) as client:
            token = str(platform.state_dir / "ray" / "token")
            yield Trial(platform, log, Codec(catalogue), ServeScaler(client, pipeline.name, token_path=token))
    finally:
        await log.close()


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


def _busy(before: Any, after: Any) -> float:
    """Return the share (0-1) of the cores' time that was used between two of ``psutil.cpu_times()``."""
    spent = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    # Linux counts guests under ``user``, too; nobody runs one here.
    return float(1 - (spent["idle"] + spent.get("iowait", 0.0)) / max(sum(spent.values()), 1e-9))
