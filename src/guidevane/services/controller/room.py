"""The controller room, put together."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from guidevane.control.limits import policy_for
from guidevane.runtime.room import patiently
from guidevane.services.controller.act import ServeScaler
from guidevane.services.controller.service import Controller, Ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guidevane.runtime.room import Room
    from guidevane.services.controller.settings import ControllerSettings


@asynccontextmanager
async def open_controller(room: Room[ControllerSettings]) -> AsyncIterator[Controller]:
    """Give the room, ready to run; close what it opened."""
    settings, pipeline = room.settings, room.pipeline
    producer = await patiently(room, lambda: room.log.producer(name=f"{settings.instance}-control"))
    try:
        # trust_env: a proxy of the environment has no business between us and Ray.
        async with httpx.AsyncClient(base_url=settings.ray_dashboard, trust_env=False) as client:
            scaler = ServeScaler(client, pipeline.name, token_path=os.environ.get("RAY_AUTH_TOKEN_PATH"))
            ports = Ports(room.log, producer, room.codec, room.clock, scaler, room.metrics, room.health)
            policy = policy_for(pipeline.slo, least=settings.min_replicas, most=settings.max_replicas)
            yield Controller(pipeline.name, pipeline.ensemble.deployments, policy, ports)
    finally:
        await producer.close()
