"""The ingest room, put together: the stage, and the HTTP door beside it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from guidevane.access import check_access
from guidevane.contract import Contract
from guidevane.log.renewed import Renewed
from guidevane.runtime.http import serve
from guidevane.runtime.redrive import withdrawn
from guidevane.runtime.room import patiently
from guidevane.services.ingest.http import Entry, door
from guidevane.services.ingest.key import key_of
from guidevane.services.ingest.service import Ingest, ingest_stage

if TYPE_CHECKING:
    from guidevane.runtime.room import Room
    from guidevane.runtime.stage import Stage
    from guidevane.services.ingest.settings import IngestSettings


async def open_ingest(room: Room[IngestSettings]) -> Stage:
    """Return the stage, ready to run."""
    return ingest_stage(
        Ingest(
            room.pipeline,
            Contract(room.pipeline.event, room.codec),
            room.codec,
            clock=room.clock,
            metrics=room.metrics,
            secret=await key_of(room),
            window=room.settings.dedupe_window,
            trace_share=room.settings.trace_share,
            letters=lambda records: withdrawn(room.log, room.pipeline.topics, records),
        )
    )


async def open_door(room: Room[IngestSettings]) -> None:
    """Take events over HTTP until the room ends: they go where every producer's go, to the events topic."""
    settings = room.settings
    token = settings.http_token.get_secret_value() if settings.http_token is not None else None
    check_access(settings.http_host, token, setting="GUIDEVANE_HTTP_TOKEN")
    async with AsyncExitStack() as open_:
        producer = await patiently(room, lambda: Renewed.open(room.log, name=f"{settings.instance}-http"))
        open_.push_async_callback(producer.close)
        entry = Entry.of(room.pipeline, room.codec)
        app = door({room.pipeline.name: entry}, producer=producer, clock=room.clock, token=token)
        await serve(app, host=settings.http_host, port=settings.http_port, stop=room.stop)
