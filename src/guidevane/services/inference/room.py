"""The inference room, put together: members deployed, handles at hand, knobs within the controller's reach."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from guidevane.errors import GuidevaneError
from guidevane.runtime.room import patiently
from guidevane.services.inference import lifeline
from guidevane.services.inference.service import Inference, Patience, inference_stage
from guidevane.services.inference.triage import Knobs
from guidevane.services.inference.warming import warm_up
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guidevane.events import Control
    from guidevane.runtime.room import Room
    from guidevane.runtime.stage import Stage
    from guidevane.services.inference.expecting import Expecting
    from guidevane.services.inference.members import Members
    from guidevane.services.inference.settings import InferenceSettings

# What control events for the room may set, see Knobs.
MAX_BATCH, CALLS, LEVEL, BEHIND = "max_batch", "calls", "level", "behind_s"


async def open_inference(
    room: Room[InferenceSettings], *, rooms_behind: int = 0
) -> tuple[Stage, Callable[[Control], None], Awaitable[None]]:
    """Return the stage, its members deployed and warm; what obeys the controller for it; what runs beside it.

    ``rooms_behind`` is how many rooms write on an answer's way behind this process.
    """
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
    settings = room.settings
    knobs = Knobs(settings.max_batch, level=room.pipeline.degrade.level if settings.degrade else 0)
    inference = Inference(
        room.pipeline,
        members,
        room.codec,
        clock=room.clock,
        metrics=room.metrics,
        knobs=knobs,
        patience=Patience(late_s=room.settings.member_timeout_s),
        judge=judge.RayJudge(room.pipeline),
        rooms_behind=rooms_behind,
    )
    members.attend(inference)
    await _warm_up(room, members, inference.expecting)

    def obey(said: Control) -> None:
        told = said["settings"]
        knobs.max_batch = max(1, int(told.get(MAX_BATCH, knobs.max_batch)))
        knobs.calls, knobs.told = max(1, int(told.get(CALLS, knobs.calls))), CALLS in told or knobs.told
        knobs.behind_s = max(0.0, told.get(BEHIND, knobs.behind_s))
        if settings.degrade:
            knobs.level = max(0, int(told.get(LEVEL, knobs.level)))
        show()

    def show() -> None:
        room.metrics.gauge(names.MAX_BATCH, knobs.max_batch)
        room.metrics.gauge(names.DEGRADE_LEVEL, knobs.level)

    show()
    beside = lifeline.hold(address, members, room.pipeline.ensemble.names, room.pipeline.vector.width, room.stop)
    return inference_stage(inference), obey, beside


async def _warm_up(room: Room[InferenceSettings], members: Members, expecting: Expecting) -> None:
    """Open the data plane to every member before the first event does; take note of how long they computed."""
    try:
        async with asyncio.timeout(30):
            await warm_up(room.pipeline, members, expecting, room.clock)
    except (TimeoutError, GuidevaneError) as cold:
        # A member that fails on zeros may do well on events; its failures are counted there.
        room.health.ready(False, f"a member did not warm up: {cold}")
