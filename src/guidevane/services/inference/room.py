"""The inference room, put together: members deployed, handles at hand, knobs within the controller's reach."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import GuidevaneError
from guidevane.runtime.room import patiently
from guidevane.services.inference import lifeline
from guidevane.services.inference.service import Inference, Knobs, Patience, inference_stage
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guidevane.events import Control
    from guidevane.runtime.room import Room
    from guidevane.runtime.stage import Stage
    from guidevane.services.inference.members import Members
    from guidevane.services.inference.settings import InferenceSettings

MAX_BATCH = "max_batch"
# The first calls open connections and fill caches on both sides; a few dozen later, calls take what they take.
_WARM_UP_ROWS = (1, 16, 64) * 8


async def open_inference(
    room: Room[InferenceSettings],
) -> tuple[Stage, Callable[[Control], None], Awaitable[None]]:
    """Return the stage, its members deployed and warm; what obeys the controller for it; what runs beside it."""
    # Imported here: Ray takes five seconds, which the other rooms of a fused process use to join.
    from guidevane.services.inference import deployment, judge  # noqa: PLC0415

    room.health.ready(False, "deploying the members")
    address = os.environ.get("RAY_ADDRESS", "")
    await patiently(room, lambda: lifeline.reach(address))
    await patiently(room, lambda: asyncio.to_thread(deployment.connect))
    deploying = asyncio.create_task(deployment.deploy(room.pipeline))
    while not deploying.done():
        room.health.tick()
        await asyncio.wait({deploying}, timeout=1.0)
    await deploying

    def retried(member: str) -> None:
        room.metrics.count(names.RETRIES_TOTAL, stage=f"inference.{member}")

    members = deployment.ServedMembers(room.pipeline, retried)
    knobs = Knobs(room.settings.max_batch)
    await _warm_up(room, members)
    inference = Inference(
        room.pipeline,
        members,
        room.codec,
        clock=room.clock,
        metrics=room.metrics,
        knobs=knobs,
        patience=Patience(late_s=room.settings.member_timeout_s),
        judge=judge.RayJudge(room.pipeline),
    )

    def obey(said: Control) -> None:
        if MAX_BATCH in said["settings"]:
            knobs.max_batch = max(1, int(said["settings"][MAX_BATCH]))
            room.metrics.gauge(names.MAX_BATCH, knobs.max_batch)

    room.metrics.gauge(names.MAX_BATCH, knobs.max_batch)
    beside = lifeline.hold(address, members, room.pipeline.ensemble.names, room.pipeline.vector.width, room.stop)
    return inference_stage(inference), obey, beside


async def _warm_up(room: Room[InferenceSettings], members: Members) -> None:
    """Open the data plane to every member before the first event does."""
    names_ = room.pipeline.ensemble.names
    try:
        async with asyncio.timeout(30):
            for rows in _WARM_UP_ROWS:
                nothing = np.zeros((rows, room.pipeline.vector.width), dtype=np.float32)
                await asyncio.gather(*(members.ask(name, nothing) for name in names_))
    except (TimeoutError, GuidevaneError) as cold:
        # A member that fails on zeros may do well on events; its failures are counted there.
        room.health.ready(False, f"a member did not warm up: {cold}")
