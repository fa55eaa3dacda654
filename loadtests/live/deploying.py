"""Deploy the emulated members: ``external`` for whoever scales from outside, ``ray`` with Serve's own autoscaler.

What the room deployed is replaced by replicas that wait instead of computing, one batch at a time, and answer
Serve's router meanwhile; the room asks them as it asks any others.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence  # noqa: TC003 - Serve looks at the types of a replica's methods
from dataclasses import asdict
from typing import Any

import numpy as np
from ray import serve

from guidevane.services.inference.deployment import connect
from guidevane.services.inference.replica import MemberSpec, Said, identity_of, specs
from loadtests.live.emulated import CPUS, LATENCY_S, pipeline

_MOST = 12
_ONGOING = 5
"""Serve's default for ``max_ongoing_requests``."""


class EmulatedReplica:
    """One replica: as long as an accelerator is busy with a batch, the next one waits."""

    def __init__(self, specs: Sequence[Mapping[str, Any]], others: tuple[Any, ...] = ()) -> None:
        del others
        self.specs = [MemberSpec(**spec) for spec in specs]
        self.turn = asyncio.Lock()

    async def predict(self, matrix: Any, names: Sequence[str]) -> list[Said]:
        """Return one half for each row, after the time of the batch."""
        said = []
        async with self.turn:
            for name in names:
                fixed_s, per_row_s = LATENCY_S[name]
                takes_s = fixed_s + per_row_s * len(matrix)
                await asyncio.sleep(takes_s)
                said.append(Said(np.full(len(matrix), 0.5), "emulated", takes_s))
        return said

    async def describe(self) -> dict[str, Any]:
        """Return what the room asks before it leaves a deployment as it is."""
        return {"identity": identity_of(self.specs), "pid": os.getpid(), "versions": {}, "devices": {}}


def main(how: str) -> None:
    """Deploy; return once it runs."""
    connect()
    serve.start(proxy_location="Disabled")
    root, *rest = specs(pipeline).items()
    others = tuple(_bound(how, *each) for each in rest)
    external = {"external_scaler_enabled": True} if how == "external" else {}
    serve.run(_bound(how, *root, others), name=pipeline.name, route_prefix=None, **external)


def _bound(how: str, name: str, together: Sequence[MemberSpec], others: tuple[Any, ...] = ()) -> Any:
    replicas: dict[str, Any] = {"num_replicas": 1, "max_ongoing_requests": 4}
    if how == "ray":
        scaling = {"min_replicas": 1, "max_replicas": _MOST}
        replicas = {"autoscaling_config": scaling, "max_ongoing_requests": _ONGOING}
    deployment = serve.deployment(EmulatedReplica).options(
        name=name, ray_actor_options={"num_cpus": CPUS}, graceful_shutdown_timeout_s=5, **replicas
    )
    return deployment.bind([asdict(each) for each in together], others)


if __name__ == "__main__":
    main(sys.argv[1])
