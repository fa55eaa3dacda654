"""One profile, from a pipeline to its document: a Ray, the stages, each deployment in turn."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guidevane.clock import SystemClock
from guidevane.errors import Misconfigured
from guidevane.local.ray import LocalRay
from guidevane.profiling.document import document
from guidevane.profiling.members import Measuring
from guidevane.profiling.samples import events_for
from guidevane.profiling.stages import stage_costs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from guidevane.pipeline import Pipeline
    from guidevane.profiling.measured import Deployed

    Progress = Callable[[str, float | None], None]

_READY_WITHIN_S = 180.0
_LARGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is measured. ``price`` is of an hour of a replica, instead of what its CPUs and GPUs cost."""

    member: str | None = None
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    seconds: float = 2.0
    variants: bool = False
    price: float | None = None
    usd_per_cpu_hour: float = 0.04
    usd_per_gpu_hour: float = 0.7
    room_startup_s: float = 5.0

    def check(self, pipeline: Pipeline) -> None:
        """Raise ``Misconfigured`` for what cannot be measured."""
        names = [each.name for each in pipeline.ensemble.deployed]
        if self.member is not None and self.member not in names:
            raise Misconfigured(f"{pipeline.name} has no member '{self.member}' → {', '.join(names)}")
        wrong = [each for each in self.batches if not 1 <= each <= _LARGEST]
        if wrong or not self.batches:
            raise Misconfigured(f"a batch of {wrong[0] if wrong else 'nothing'} → write sizes from 1 to {_LARGEST}")


async def profile(
    reference: str, pipeline: Pipeline, asked: Asked, *, state_dir: Path, progress: Progress
) -> tuple[list[Deployed], dict[str, Any]]:
    """Return what was measured of a pipeline, and its document. Raises ``Misconfigured``."""
    asked.check(pipeline)
    clock = SystemClock()
    batches = tuple(sorted(set(asked.batches)))
    event, origin = events_for(reference, pipeline, clock)
    stages, vectors = await stage_costs(pipeline, event, batches, progress)
    by_name = {each.name: each for each in pipeline.ensemble.deployed}
    groups = dict(pipeline.ensemble.deployments)
    if asked.member is not None:
        # Alone, whoever it shares its replicas with otherwise.
        groups = {asked.member: (asked.member,)}
    found: list[Deployed] = []
    async with _ray(state_dir, progress):
        measuring = Measuring(pipeline, vectors, batches=batches, seconds=asked.seconds, clock=clock, progress=progress)
        for name, names in groups.items():
            members = [by_name[each] for each in names]
            if asked.member is not None:
                members = [replace(members[0], beside=None)]
            found.append(await measuring.measure(name, members, variants=asked.variants))
    written = document(
        pipeline, found, stages,
        usd_per_hour={name: _price(pipeline, asked, name) for name in groups},
        room_usd_per_hour=asked.usd_per_cpu_hour,
        room_startup_s=asked.room_startup_s,
        facts={"events": origin, "seconds": asked.seconds, "cpus": os.cpu_count()},
    )  # fmt: skip
    return found, written


def _price(pipeline: Pipeline, asked: Asked, name: str) -> float:
    if asked.price is not None:
        return asked.price
    member = next(each for each in pipeline.ensemble.deployed if each.name == name)
    return member.num_cpus * asked.usd_per_cpu_hour + member.num_gpus * asked.usd_per_gpu_hour


@asynccontextmanager
async def _ray(state_dir: Path, progress: Progress) -> AsyncIterator[None]:
    """Join the cluster that ``RAY_ADDRESS`` names, or a local one that ends with this."""
    local = None
    if not os.environ.get("RAY_ADDRESS"):
        local = LocalRay(state_dir, pythonpath=[str(Path.cwd())], die_with_parent=True, progress=progress)
        await local.start()
    try:
        if local is not None:
            await local.wait_ready(_READY_WITHIN_S)
            # Ray reads them when it is imported, and nothing has imported it yet.
            os.environ.update(local.env())
        from guidevane.services.inference.deployment import connect  # noqa: PLC0415

        progress("Ray: joining", None)
        connect()
        progress("Ray: ready", 1.0)
        yield
    finally:
        if local is not None:
            await local.stop()
