"""The network in our hand: what passes, what waits, what breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from guidevane.drill.network import Wire
from guidevane.local.ports import free_ports


@asynccontextmanager
async def echo() -> AsyncIterator[Wire]:
    """Yield a wire to a server that says everything again."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    port, target = free_ports(2)
    server = await asyncio.start_server(say, "127.0.0.1", target)
    async with Wire(port, target) as wire:
        yield wire
    server.close()


async def heard(reader: asyncio.StreamReader, count: int, within_s: float = 5.0) -> bytes:
    async with asyncio.timeout(within_s):
        return await reader.readexactly(count)


async def test_what_is_sent_arrives_whole_and_in_order():
    async with echo() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        sent = bytes(range(256)) * 4000
        writer.write(sent)
        assert await heard(reader, len(sent)) == sent
        writer.close()


async def test_nothing_passes_a_cut_and_everything_arrives_once_it_is_mended():
    async with echo() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        wire.cut()
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await heard(reader, 4, within_s=0.1)
        newcomer, other = await asyncio.open_connection("127.0.0.1", wire.port)
        other.write(b"new")
        wire.mend()
        assert await heard(newcomer, 3) == b"new"
        # What the time-out took from the reader is still on its way: nothing was thrown away.
        assert await heard(reader, 4) == b"late"
        writer.close()
        other.close()


async def test_a_delay_holds_bytes_back_without_making_the_pipe_narrower():
    async with echo() as wire:
        wire.delay_s = 0.1
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        began = asyncio.get_running_loop().time()
        for _ in range(10):
            writer.write(b"x" * 1000)
            await writer.drain()
        assert await heard(reader, 10_000) == b"x" * 10_000
        # There and back.
        assert asyncio.get_running_loop().time() - began >= 0.2
        writer.close()


async def test_a_reset_closes_every_connection_and_new_ones_pass():
    async with echo() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"a")
        await heard(reader, 1)
        await wire.reset()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await heard(reader, 1)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"b")
        assert await heard(reader, 1) == b"b"
        writer.close()


async def test_a_server_that_is_away_is_a_closed_connection():
    async with Wire(*free_ports(2)) as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await heard(reader, 1)
        writer.close()
