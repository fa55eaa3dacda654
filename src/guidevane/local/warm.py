"""Warming a broker that has just started: its first seconds are slow, and events should not be the ones to find out.

A new JVM interprets its code before it compiles it; the produce and fetch paths take some thousand
requests until then. They are made here, on a topic of their own, while Ray is still starting.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from guidevane.errors import GuidevaneError
from guidevane.log import Fetch, Message
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.topics import DEFAULT_PARTITIONS, TopicSpec

_TOPIC = "guidevane.warm-up"


async def warm_up(bootstrap: str, *, rounds: int = 400, within_s: float = 20.0) -> None:
    """Produce and fetch for a few seconds, as rooms do; a broker that does not play along is left cold."""
    log = KafkaLog(Connection(bootstrap))
    try:
        async with asyncio.timeout(within_s):
            await log.ensure([TopicSpec(_TOPIC, DEFAULT_PARTITIONS)])
            reading = asyncio.create_task(_read(log))
            producer = await log.producer(name="warm-up")
            try:
                for number in range(rounds):
                    message = Message(b"%d" % number, bytes(200), (("event_id", b"%d" % number),))
                    posted = [await producer.post(_TOPIC, p, [message] * 2) for p in range(DEFAULT_PARTITIONS)]
                    for each in posted:
                        await each
            finally:
                reading.cancel()
                await producer.close()
                with suppress(asyncio.CancelledError):
                    await reading
            await log.remove([_TOPIC])
    except (GuidevaneError, TimeoutError):
        return
    finally:
        await log.close()


async def _read(log: KafkaLog) -> None:
    reader = log.reader([_TOPIC], fetch=Fetch(wait_s=0.01))
    await reader.start()
    try:
        while True:
            await reader.fetch(timeout_s=0.1)
    finally:
        await reader.close()
