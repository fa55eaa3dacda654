"""One contender on one workload: replicas sampled, events sent when due, outcomes in a ledger outside Kafka."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.demo.replay import Replay
from guidevane.demo.watch import Watch
from guidevane.errors import Retryable
from guidevane.events import Control
from guidevane.ledger import Ledger, percentiles
from guidevane.log import Message
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.services.controller.act import ServeScaler
from guidevane.topics import CONTROL
from loadtests.live.emulated import SLO_MS, Ticks, pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from guidevane.local.platform import Platform

_STANDS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 20.0
_SAMPLE_S = 1.0


@dataclass
class Bench:
    """A platform that runs without a controller, and what measures it."""

    platform: Platform
    log: KafkaLog
    codec: Codec
    scaler: ServeScaler
    clock: SystemClock = field(default_factory=SystemClock)
    epoch: int = 0

    async def stand(self, replicas: Mapping[str, int], batch: int) -> None:
        """Have every member run so many replicas and batches; return once they serve."""
        for member, count in replicas.items():
            await self.scaler.scale(member, count)
        await self._tell(batch, max(2 * max(replicas.values()), 4))
        async with asyncio.timeout(_STANDS_WITHIN_S):
            # What is waited for happens in Ray.
            while any(  # noqa: ASYNC110
                len(each.ready) != replicas[name] for name, each in (await self.scaler.replicas()).items()
            ):
                await asyncio.sleep(_SAMPLE_S)

    async def deploy(self, how: str) -> None:
        """Deploy the members again: ``external``, or ``ray`` with Serve's own autoscaler."""
        env = {**os.environ, **self.platform.another("controller", "bench-deploying").env}
        argv = [sys.executable, "-m", "loadtests.live.deploying", how]
        await asyncio.to_thread(subprocess.run, argv, env=env, check=True, timeout=120)

    @asynccontextmanager
    async def steered(self) -> AsyncIterator[None]:
        """Have the controller room steer meanwhile."""
        child = self.platform.another("controller", "bench-controller")
        with child.log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *child.argv, env={**os.environ, **child.env}, stdout=log, stderr=log
            )
            try:
                async with asyncio.timeout(_STANDS_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
                    while not await _ready(client, str(child.ready_url)):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.2)
                yield
            finally:
                process.terminate()
                await process.wait()

    async def play(self, times: NDArray[np.float64]) -> dict[str, Any]:
        """Send and watch; return the figures."""
        ledger = Ledger()
        watch = Watch(pipeline, self.log, self.codec, self.clock, ledger)
        producer = await self.log.producer(name="bench")
        source = Ticks()
        replay = Replay(
            pipeline=pipeline, source=source, producer=producer,
            encode=self.codec.encoder(pipeline.event.name, version=1), encode_label=self.codec.encoder("label"),
            ledger=ledger, clock=self.clock, label_delay_s=1.0, run=self.clock.now_us() % 1_000_000_000,
        )  # fmt: skip
        stop = asyncio.Event()
        samples: list[tuple[float, dict[str, int]]] = []
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
        await producer.close()
        missed, events = ledger.missed(SLO_MS)
        span_s = float(times[-1])
        counted = [sum(each.values()) for _, each in samples]
        return {
            "events": events, "missed": missed, "miss": round(missed / events, 6), "lost": ledger.lost,
            "outcomes": ledger.outcomes(), "latency_ms": percentiles(ledger.latencies_ms()),
            "replica_seconds": round(span_s * sum(counted) / max(len(counted), 1), 1),
            "acts": sum(n for action, n in watch.action_counts.items() if action in {"set", "scale"}),
            "timeline": [{"at_s": round(at, 1), "replicas": dict(each)} for at, each in samples],
            "latency_timeline_ms": ledger.timeline(),
        }  # fmt: skip

    async def _sample(self, into: list[tuple[float, dict[str, int]]]) -> None:
        began_s = self.clock.monotonic_s()
        while True:
            try:
                found = await self.scaler.replicas()
                counts = {name: len(each.ready) + len(each.starting) for name, each in found.items()}
                into.append((self.clock.monotonic_s() - began_s, counts))
            except Retryable:
                pass  # A dashboard that is late: the mean is over the samples that there are.
            await asyncio.sleep(_SAMPLE_S)

    async def _tell(self, batch: int, calls: int) -> None:
        """Set inference as a controller would, so that the next one may change it."""
        self.epoch = max(self.epoch + 1, self.clock.now_us() // 1_000_000)
        control = Control(
            pipeline=pipeline.name, room="inference", at_us=self.clock.now_us(), epoch=self.epoch,
            settings={"max_batch": float(batch), "calls": float(calls)}, actor="controller", reason="bench",
        )  # fmt: skip
        producer = await self.log.producer(name="bench-control")
        message = Message(f"{pipeline.name}/inference".encode(), self.codec.encode("control", control))
        await producer.send(CONTROL, 0, [message])
        await producer.close()


@asynccontextmanager
async def bench(platform: Platform) -> AsyncIterator[Bench]:
    """Give a bench on a platform that is up."""
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    ends = platform.endpoints
    log = KafkaLog(Connection.told(os.environ, bootstrap=ends.kafka))
    try:
        async with httpx.AsyncClient(base_url=ends.ray_dashboard, trust_env=False) as client:
            token = str(platform.state_dir / "ray" / "token")
            yield Bench(platform, log, Codec(catalogue), ServeScaler(client, pipeline.name, token_path=token))
    finally:
        await log.close()


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False
