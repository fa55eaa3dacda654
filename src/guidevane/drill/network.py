"""The network between rooms and broker, in our hand: a small TCP proxy that cuts, delays and resets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK_BYTES = 1 << 16
_UNDER_WAY = 64
_AWAY_S = 0.3


class Wire:
    """Listens at ``port`` and passes everything on to ``target``, both on 127.0.0.1.

    ``cut`` lets nothing pass and closes nothing, as a cable that is pulled: what was under way arrives
    once it is mended, which is how duplicates are made. ``delay_s`` holds every byte back for so long,
    without making the pipe narrower. ``reset`` closes every connection.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.delay_s = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self.reset()

    def cut(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def mend(self) -> None:
        """Let everything pass again, at once."""
        self.delay_s = 0.0
        self._open.set()

    async def reset(self) -> None:
        """Close every connection."""
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows the type: a coroutine that runs has a task
        self._connections.add(task)
        onward: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            back, onward = await self._beyond()
            ways = [asyncio.create_task(self._way(reader, onward)), asyncio.create_task(self._way(back, writer))]
            try:
                # Whichever side ends it, ends it for both.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # Nobody there, or reset: the client sees its connection closed.
            pass
        finally:
            self._connections.discard(task)
            for end in (writer, onward):
                if end is not None:
                    end.transport.abort()

    async def _beyond(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            # A client whose connection is refused waits before it tries again; one that is let in and sent away at
            # once comes back at once, which would keep two cores busy for as long as the broker is away.
            await asyncio.sleep(_AWAY_S)
            raise

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now_s = asyncio.get_running_loop().time
        passing: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

        async def deliver() -> None:
            while True:
                due_s, data = await passing.get()
                await self._open.wait()
                if due_s > now_s():
                    await asyncio.sleep(due_s - now_s())
                writer.write(data)
                await writer.drain()
                if not data:
                    return

        delivering = asyncio.create_task(deliver())
        try:
            with suppress(ConnectionError):
                data = b"-"
                while data:
                    data = await reader.read(_CHUNK_BYTES)
                    await passing.put((now_s() + self.delay_s, data))
                await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
