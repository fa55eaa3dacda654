"""The controller room, put together."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import orjson

from guidevane.control.bill import Prices
from guidevane.control.site import Movable, Site, as_deployed
from guidevane.errors import Misconfigured
from guidevane.log.renewed import Renewed
from guidevane.runtime.fence import Fence
from guidevane.runtime.room import patiently
from guidevane.services.controller.act import ServeScaler
from guidevane.services.controller.answering import answered
from guidevane.services.controller.observe import Window
from guidevane.services.controller.service import Controller, Ports
from guidevane.services.controller.staffing import open_staffing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from guidevane.control.actions import Policy
    from guidevane.control.graph import Graph
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.room import Room
    from guidevane.services.controller.learning import Detector
    from guidevane.services.controller.settings import ControllerSettings

_DELTA = 0.002
"""ADWIN's own default: the chance of a false alarm at each look."""


@asynccontextmanager
async def open_controller(room: Room[ControllerSettings]) -> AsyncIterator[Controller]:
    """Give the room, ready to run; close what it opened."""
    settings, pipeline = room.settings, room.pipeline
    site = site_of(pipeline, settings)
    producer = await patiently(room, lambda: Renewed.open(room.log, name=f"{settings.instance}-control"))
    try:
        async with AsyncExitStack() as stack:
            # trust_env: a proxy of the environment has no business between us and Ray.
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=settings.ray_dashboard, trust_env=False)
            )
            scaler = ServeScaler(client, pipeline.name, token_path=os.environ.get("RAY_AUTH_TOKEN_PATH"))
            fence = Fence(room.clock, settings.session_timeout_s)
            staffing = await stack.enter_async_context(open_staffing(settings, pipeline.name))
            ports = Ports(
                room.log, producer, room.codec, room.clock, scaler, room.metrics, room.health, fence, staffing
            )
            window = Window(pipeline.name, pipeline.ensemble.deployments)
            controller = Controller(
                pipeline.name, window, lambda: prepare(site), ports, watchful, prices_of(site, settings)
            )
            room.health.pages["/whatif"] = lambda query: answered(controller, query)
            yield controller
    finally:
        await producer.close()


def prepare(site: Site) -> Policy:
    """Return the policy, its simulation ready to run: seconds, where no process before has compiled it."""
    from guidevane.control.guiding import Guide, rehearse  # noqa: PLC0415 - LLVM, which no other room has

    rehearse()
    return Guide(site)


def watchful() -> Callable[[], Detector]:
    """Return what makes detectors."""
    from guidevane.monitors.adwin import Adwin  # noqa: PLC0415 - River takes seconds, and is wanted late

    return lambda: Adwin(_DELTA)


def site_of(pipeline: Pipeline, settings: ControllerSettings) -> Site:
    """Return what of a pipeline may be moved. Raises ``Misconfigured`` for a profile that is none of it."""
    ensemble = pipeline.ensemble
    members = tuple(
        Movable(
            name=each.name,
            members=ensemble.deployments[each.name],
            cpus=each.num_cpus,
            usd_per_hour=each.num_cpus * settings.usd_per_cpu_hour + each.num_gpus * settings.usd_per_gpu_hour,
        )
        for each in ensemble.members
        if each.name in ensemble.deployments
    )
    return Site(
        members=members,
        slo_s=pipeline.slo.within_ms / 1e3,
        epsilon=pipeline.slo.allowed,
        quorum=ensemble.quorum,
        least=settings.min_replicas,
        most=settings.max_replicas,
        cpus=settings.replica_cpus or None,
        startup_s=settings.startup_s,
        partitions=pipeline.partitions,
        most_consumers=1 if settings.consumers_by == "nobody" else settings.max_consumers,
        room_startup_s=settings.room_startup_s,
        level=pipeline.degrade.level,
        most_level=pipeline.degrade.most,
        bridge_share=pipeline.degrade.bridge_share,
        measured=None if settings.profile is None else _measured(settings, tuple(ensemble.deployments)),
    )


def prices_of(site: Site, settings: ControllerSettings) -> Prices:
    """Return what is billed: replicas by what their members declare, a room's process as one CPU."""
    return Prices({each.name: each.usd_per_hour for each in site.members}, room_usd=settings.usd_per_cpu_hour)


def _measured(settings: ControllerSettings, names: tuple[str, ...]) -> Graph:
    from guidevane.control.reading import read_graph  # noqa: PLC0415 - only where there is something to read

    path = settings.profile
    assert path is not None  # noqa: S101 - narrows the type: asked only where there is one
    try:
        return as_deployed(read_graph(orjson.loads(path.read_bytes())), names)
    except (OSError, orjson.JSONDecodeError) as wrong:
        raise Misconfigured(f"GUIDEVANE_PROFILE={path} cannot be read: {wrong}") from wrong
