"""Deploy the emulated members: ``external`` for whoever scales from outside, ``ray`` as Serve does it by itself.

What the room deployed is replaced by replicas that wait instead of computing, one batch at a time, and answer Serve's
router meanwhile; the room asks them as it asks any others. Under ``ray`` each event is a request of its own, and
replicas put batches together (``@serve.batch``), as Serve's users have it: its autoscaler counts requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence  # noqa: TC003 - Serve looks at the types of a replica's methods
from dataclasses import asdict
from typing import Any

import numpy as np
from ray import serve

from guidevane.services.inference.deployment import ROUTING, connect
from guidevane.services.inference.replica import MemberSpec, Said, identity_of, specs
from loadtests.live.emulated import CPUS, LATENCY_S, MOST, pipeline

_ONGOING = 5
"""Serve's default for ``max_ongoing_requests``."""
_BATCH, _BATCH_WAIT_S = 10, 0.01
"""``@serve.batch``'s defaults."""


class EmulatedReplica:
    """One replica: as long as an accelerator is busy with a batch, the next one waits."""

    def __init__(self, specs: Sequence[Mapping[str, Any]], others: tuple[Any, ...] = ()) -> None:
        del others
        self.specs = [MemberSpec(**spec) for spec in specs]
        self.turn = asyncio.Lock()

    async def predict(self, matrix: Any, names: Sequence[str], *, pressed: bool = False) -> list[Said]:
        """Return one half for each row, after the time of the batch: there is nothing to try, pressed or not."""
        del pressed
        return await self.computed([len(matrix)], names)

    async def computed(self, rows: Sequence[int], names: Sequence[str]) -> list[Said]:
        """Take the time of one batch of all rows; return what is said of the first ``rows`` of it."""
        said = []
        async with self.turn:
            for name in names:
                fixed_s, per_row_s = LATENCY_S[name]
                takes_s = fixed_s + per_row_s * sum(rows)
                await asyncio.sleep(takes_s)
                said.append(Said(np.full(rows[0], 0.5), "emulated", takes_s))
        return said

    async def describe(self) -> dict[str, Any]:
        """Return what the room asks before it leaves a deployment as it is."""
        return {"identity": identity_of(self.specs), "pid": os.getpid(), "versions": {}, "devices": {}}


class BatchingReplica(EmulatedReplica):
    """The same, with batches of requests that came beside each other."""

    async def predict(self, matrix: Any, names: Sequence[str], *, pressed: bool = False) -> list[Said]:
        """Return one half for each row, after the time of the batch that it got into."""
        del pressed
        said: list[Said] = await self.together((len(matrix), tuple(names)))
        return said

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=_BATCH_WAIT_S)
    async def together(self, requests: list[tuple[int, tuple[str, ...]]]) -> list[list[Said]]:
        """Answer a batch."""
        said = await self.computed([rows for rows, _ in requests], requests[0][1])
        return [[each._replace(scores=np.full(rows, 0.5)) for each in said] for rows, _ in requests]


def main(how: str, replicas: Mapping[str, int]) -> None:
    """Deploy, so many replicas to begin with; return once they run."""
    connect()
    serve.start(proxy_location="Disabled")
    # What ran before would hand its number of replicas on.
    serve.delete(pipeline.name)
    root, *rest = specs(pipeline).items()
    others = tuple(_bound(how, *each, replicas) for each in rest)
    external = {"external_scaler_enabled": True} if how == "external" else {}
    serve.run(_bound(how, *root, replicas, others), name=pipeline.name, route_prefix=None, **external)


def _bound(
    how: str, name: str, together: Sequence[MemberSpec], replicas: Mapping[str, int], others: tuple[Any, ...] = ()
) -> Any:
    scaled: dict[str, Any] = {
        "num_replicas": replicas[name],
        "max_ongoing_requests": 64,
        "request_router_config": ROUTING,
    }
    if how == "ray":
        scaling = {"min_replicas": 1, "initial_replicas": replicas[name], "max_replicas": MOST}
        scaled = {"autoscaling_config": scaling, "max_ongoing_requests": _ONGOING}
    deployment = serve.deployment(BatchingReplica if how == "ray" else EmulatedReplica).options(
        name=name, ray_actor_options={"num_cpus": CPUS}, graceful_shutdown_timeout_s=5, **scaled
    )
    return deployment.bind([asdict(each) for each in together], others)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
