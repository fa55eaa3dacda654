"""Faust: an agent that takes events in batches, and a topic that it sends to.

Batches as its guide to streams has them (``take_events(max, within)``: the events keep their keys and partitions);
every answer's delivery is awaited before the batch is acknowledged. With ``--whole`` it sends to five topics likewise.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import faust

from loadtests.stream.whole import whole_of
from loadtests.stream.work import Work

if TYPE_CHECKING:
    from collections.abc import Mapping


def main() -> None:
    """Run until told to stop."""
    # The rest of the command line is Faust's own.
    events, decisions, *options = sys.argv[1:]
    sys.argv[1:] = [option for option in options if option != "--whole"]
    app = faust.App(
        f"{events}.group",
        broker=f"kafka://{os.environ['KAFKA_BOOTSTRAP_SERVERS']}",
        datadir=tempfile.mkdtemp(prefix="faust-", dir=os.environ.get("GUIDEVANE_STATE_DIR")),
        topic_partitions=12,
        topic_disable_leader=True,
        producer_acks=-1,
        producer_linger=0.005,
        producer_max_batch_size=1 << 20,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=512,
        stream_buffer_maxsize=4096,
        web_enabled=False,
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    if "--whole" in options:
        _do_all(app, events, raw)
    else:
        _decide(app, events, decisions, raw)
    app.main()


def _decide(app: faust.App, events: str, decisions: str, raw: Mapping[str, Any]) -> None:
    work = Work()
    source, sink = app.topic(events, **raw), app.topic(decisions, **raw)

    @app.agent(source)
    async def decide(stream: Any) -> None:
        async for batch in stream.take_events(512, within=0.01):
            answers = work([event.value for event in batch])
            sent = [
                await sink.send(key=event.key, value=decided.value, partition=event.message.partition)
                for event, decided in zip(batch, answers, strict=True)
            ]
            await asyncio.gather(*sent)


def _do_all(app: faust.App, events: str, raw: Mapping[str, Any]) -> None:
    whole = whole_of(events)
    sinks = {topic: app.topic(topic, **raw) for topic in whole.topics}

    @app.agent(app.topic(events, **raw))
    async def answer(stream: Any) -> None:
        async for batch in stream.take_events(512, within=0.01):
            came = [(event.message.partition, event.message.offset, event.key, event.value) for event in batch]
            sent = []
            for (topic, partition), records in whole(came).items():
                send = sinks[topic].send
                for key, value, headers in records:
                    sent.append(await send(key=key, value=value, partition=partition, headers=headers))
            await asyncio.gather(*sent)


if __name__ == "__main__":
    main()
