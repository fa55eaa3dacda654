"""Ray Serve over HTTP in place of our inference room: one request an event, gathered by ``@serve.batch``.

As Serve's pages on dynamic request batching and on performance have it: an ``async`` batched method,
``max_ongoing_requests`` far above the batch, the throughput-optimised flags, a request time limit, no access log.
One replica holds all three members, which spares it two calls an event; the loop around it is the bare loop's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

os.environ |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import aiohttp
import numpy as np
import ray
import uvloop
from ray import serve
from starlette.requests import Request  # noqa: TC002 - Serve looks at the annotation

from loadtests.stream.bare import loop, one_for_one
from loadtests.stream.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_ONCE = 256


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
class Ensemble:
    """Scores one feature vector a request, many at a time."""

    def __init__(self) -> None:
        self._work = Work()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)
    async def score(self, vectors: list[bytes]) -> list[float]:
        """Return one score a vector of little-endian float32."""
        matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)
        return [float(score) for score in self._work.scores(matrix)]

    async def __call__(self, request: Request) -> float:
        """Answer one request: a vector in the body, a score as JSON."""
        score: float = await self.score(await request.body())
        return score


def main() -> None:
    """Start Ray and Serve, deploy, and run the loop until told to stop."""
    events, decisions = sys.argv[1:]
    port = int(os.environ.get("BENCH_SERVE_PORT", "18231"))
    with tempfile.TemporaryDirectory(prefix="serve-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=8, include_dashboard=False, _temp_dir=folder, _node_ip_address="127.0.0.1", log_to_driver=False
        )
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 30})
            serve.run(Ensemble.bind(), logging_config={"enable_access_log": False, "log_level": "WARNING"})
            uvloop.run(_run(events, decisions, f"http://127.0.0.1:{port}/"))
        finally:
            serve.shutdown()
            ray.shutdown()


async def _run(events: str, decisions: str, url: str) -> None:
    work = Work()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_AT_ONCE)) as session:

        async def ask(vector: bytes) -> float:
            async with session.post(url, data=vector) as answer:
                answer.raise_for_status()
                return float(await answer.text())

        async def decide(records: Sequence[Any]) -> list[bytes | None]:
            read = [work.read(record.value) for record in records]
            scores = await asyncio.gather(*(ask(row.tobytes()) for row in work.matrix(read).astype("<f4", copy=False)))
            return [decided.value for decided in work.answer(read, np.array(scores))]

        await loop(events, one_for_one(decisions, decide))


if __name__ == "__main__":
    main()
