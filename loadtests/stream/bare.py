"""The bare loop: getmany, decide, send_batch, commit; one process, nothing around it.

What a good engineer writes in an afternoon: batches as they come, one batch's acknowledgements awaited while the
next is decided, offsets committed only for what is acknowledged. With ``--whole`` it writes to five topics.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from loadtests.stream.whole import Whole

    Found = Mapping[TopicPartition, Sequence[Any]]
    Answer = Callable[[Sequence[Any]], Awaitable[Sequence[bytes | None]]]
    Write = Callable[[AIOKafkaProducer, Found], Awaitable[list[Any]]]

_COMMIT_EVERY_S = 0.5


async def loop(events: str, write: Write) -> None:
    """Consume, answer, produce, commit, until told to stop. ``write`` sends a batch's answers, and awaits none."""
    bootstrap = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    consumer = AIOKafkaConsumer(
        events,
        bootstrap_servers=bootstrap,
        group_id=f"{events}.bare",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # Full batches where there is much, 10 ms where there is little: at 500/s a default fetch brings two or three.
        fetch_min_bytes=1 << 20,
        fetch_max_wait_ms=10,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=1 << 20
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await consumer.start()
    await producer.start()
    try:
        acknowledged: dict[TopicPartition, int] = {}
        under_way: tuple[list[Any], dict[TopicPartition, int]] = ([], {})
        committed_s = time.monotonic()
        while not stop.is_set():
            found = await consumer.getmany(timeout_ms=250, max_records=512)
            sends = await write(producer, found) if found else []
            for acknowledgement in under_way[0]:
                await acknowledgement
            acknowledged |= under_way[1]
            under_way = (sends, {tp: batch[-1].offset + 1 for tp, batch in found.items()})
            if acknowledged and time.monotonic() - committed_s >= _COMMIT_EVERY_S:
                await consumer.commit(acknowledged)
                acknowledged, committed_s = {}, time.monotonic()
        for acknowledgement in under_way[0]:
            await acknowledgement
        if last := acknowledged | under_way[1]:
            await consumer.commit(last)
    finally:
        await producer.stop()
        await consumer.stop()


def one_for_one(decisions: str, answer: Answer) -> Write:
    """Return what writes an answer to each record, under its key."""

    async def write(producer: AIOKafkaProducer, found: Found) -> list[Any]:
        values = await answer([record for batch in found.values() for record in batch])
        sends, at = [], 0
        for tp, batch in found.items():
            packed = producer.create_batch()
            for record, value in zip(batch, values[at : at + len(batch)], strict=True):
                if packed.append(key=record.key, value=value, timestamp=None) is None:
                    sends.append(await producer.send_batch(packed, decisions, partition=tp.partition))
                    packed = producer.create_batch()
                    packed.append(key=record.key, value=value, timestamp=None)
            at += len(batch)
            sends.append(await producer.send_batch(packed, decisions, partition=tp.partition))
        return sends

    return write


def all_of_it(whole: Whole) -> Write:
    """Return what does the whole work, and writes all its topics."""

    async def write(producer: AIOKafkaProducer, found: Found) -> list[Any]:
        sends = []
        came = [(r.partition, r.offset, r.key, r.value) for batch in found.values() for r in batch]
        for (topic, partition), records in whole(came).items():
            packed = producer.create_batch()
            for key, value, headers in records:
                if packed.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    sends.append(await producer.send_batch(packed, topic, partition=partition))
                    packed = producer.create_batch()
                    packed.append(key=key, value=value, timestamp=None, headers=headers)
            sends.append(await producer.send_batch(packed, topic, partition=partition))
        return sends

    return write


def main() -> None:
    """Run the loop with the work, with the whole of it (``--whole``), or with none (``--relay``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events")
    parser.add_argument("decisions")
    parser.add_argument("--relay", action="store_true", help="hand the bytes on as they are")
    parser.add_argument("--tiled", action="store_true", help="call members in tiles, as our rooms do")
    parser.add_argument("--whole", action="store_true", help="do all that our rooms do on the hot path")
    asked = parser.parse_args()
    if asked.whole:
        from loadtests.stream.whole import whole_of  # noqa: PLC0415 - a relay loads no models

        uvloop.run(loop(asked.events, all_of_it(whole_of(asked.events))))
    else:
        answer = _relay if asked.relay else _decider(tiled=asked.tiled)
        uvloop.run(loop(asked.events, one_for_one(asked.decisions, answer)))


async def _relay(records: Sequence[Any]) -> list[bytes | None]:
    return [record.value for record in records]


def _decider(*, tiled: bool) -> Answer:
    from loadtests.stream.work import Work  # noqa: PLC0415 - a relay loads no models

    work = Work(tiled=tiled)

    async def decide(records: Sequence[Any]) -> list[bytes | None]:
        return [decided.value for decided in work([record.value for record in records])]

    return decide


if __name__ == "__main__":
    main()
