"""The admin room, put together: what follows the topics, and the HTTP door in front of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from guidevane.log.renewed import Renewed
from guidevane.runtime.http import serve
from guidevane.runtime.room import patiently
from guidevane.services.admin.http import admin_app
from guidevane.services.admin.service import AdminRoom
from guidevane.services.admin.state import Subject

if TYPE_CHECKING:
    from guidevane.runtime.room import Room
    from guidevane.services.admin.settings import AdminSettings


async def run_admin(room: Room[AdminSettings]) -> None:
    """Follow and answer until the room ends; whichever of the two fails ends it."""
    settings = room.settings
    token = settings.token()
    async with AsyncExitStack() as open_:
        producer = await patiently(room, lambda: Renewed.open(room.log, name=f"{settings.instance}-admin"))
        open_.push_async_callback(producer.close)
        admin = AdminRoom(room.log, producer, room.codec, [Subject.of(room.pipeline)], room.clock, health=room.health)
        app = admin_app(admin, token=token)

        async def follow() -> None:
            try:
                await admin.run(room.stop)
            finally:
                room.stop.set()

        following = asyncio.create_task(follow())
        await serve(app, host=settings.admin_host, port=settings.admin_port, stop=room.stop)
        # A port that is taken ends the server, and with it the room.
        room.stop.set()
        await following
