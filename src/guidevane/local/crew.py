"""Further processes of the rooms, and the door at which the controller asks for them.

A room's own process is number 0 and belongs to the platform. Each further one carries its number in its instance name,
so that it keeps its place in the room's group over a restart.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guidevane.access import Guard
from guidevane.problem import Refused
from guidevane.runtime.http import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from guidevane.local.child import Child
    from guidevane.local.supervisor import Supervisor

MOST: Final = 64
"""Processes of one room on one machine."""


class Crew:
    """The further processes of ``rooms``. ``make`` says how number n of a room is run."""

    def __init__(self, supervisor: Supervisor, rooms: Collection[str], make: Callable[[str, int], Child]) -> None:
        self._supervisor = supervisor
        self._make = make
        self._names: dict[str, list[str]] = {room: [room] for room in rooms}
        # One change at a time: who drains must be gone before another takes its number.
        self._turn = asyncio.Lock()

    def standing(self) -> dict[str, dict[str, int]]:
        """Return how many processes each room shall have, and how many are ready."""
        return {
            room: {"consumers": len(names), "ready": sum(self._supervisor.ready(name) for name in names)}
            for room, names in self._names.items()
        }

    async def staff(self, room: str, consumers: int) -> None:
        """Have so many processes of a room from now on; return when those that are too many have drained.

        Raises ``KeyError`` for a room that is none, ``ValueError`` for a number that cannot be.
        """
        names = self._names[room]
        if not 1 <= consumers <= MOST:
            raise ValueError(f"{consumers} processes of {room} → 1 to {MOST}")
        async with self._turn:
            while len(names) < consumers:
                child = self._make(room, len(names))
                self._supervisor.hire(child, beside=names[-1])
                names.append(child.name)
            gone = names[consumers:]
            del names[consumers:]
            # The group gives what they owned to the others once, not once for each.
            await asyncio.gather(*(self._supervisor.dismiss(name) for name in gone))


def door(crew: Crew, token: str) -> ASGIApp:
    """Return the application, for who has the token: ``GET /rooms``, and ``PUT /rooms/<room>`` with ``consumers``."""
    changing: set[asyncio.Task[None]] = set()

    async def rooms(_request: Request) -> Response:
        return JSONResponse(crew.standing())

    async def staff(request: Request) -> Response:
        room = request.path_params["room"]
        if room not in crew.standing():
            return Refused(404, "no-such-room", f"no room {room!r}: {', '.join(crew.standing())}").response()
        try:
            consumers = int((await request.json())["consumers"])
            if not 1 <= consumers <= MOST:
                raise ValueError(f"{consumers} → 1 to {MOST}")  # noqa: TRY301 - one answer for all that is no number
        except (ValueError, KeyError, TypeError) as wrong:
            return Refused(400, "no-number", f"send {{'consumers': n}}: {wrong}").response()
        # Draining takes seconds, which nobody who asks waits for: `GET /rooms` tells.
        task = asyncio.create_task(crew.staff(room, consumers))
        changing.add(task)
        task.add_done_callback(changing.discard)
        return JSONResponse({"room": room, "consumers": consumers}, status_code=202)

    app = Starlette(routes=[Route("/rooms", rooms), Route("/rooms/{room}", staff, methods=["PUT"])])
    return Guard(app, token=token)


@asynccontextmanager
async def open_door(crew: Crew, token: str, port: int) -> AsyncIterator[None]:
    """Serve the door on this machine."""
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(door(crew, token), host="127.0.0.1", port=port, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await serving
