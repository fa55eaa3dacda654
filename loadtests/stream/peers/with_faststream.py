"""FastStream: a batch subscriber, and a batch published for each partition.

At least once as its page on acknowledgements has it: a consumer group, and a policy that commits after the handler
(``NACK_ON_ERROR``: a batch that raises is read again). Values are bytes, so the decoder hands them on as they are;
``publish_batch`` fills one partition, so each input partition's answers are one batch, all awaited together. With
``--whole`` that is one for each topic and partition, and dead letters, which have a header of their own each, are
published one by one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage, KafkaPublishMessage

from loadtests.stream.whole import whole_of
from loadtests.stream.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handle = Callable[[Any, KafkaMessage], Awaitable[None]]


def main() -> None:
    """Run until told to stop."""
    events, decisions, *options = sys.argv[1:]
    broker = KafkaBroker(
        os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", enable_idempotence=True, max_batch_size=1 << 20, logger=None
    )

    async def as_they_are(message: Any) -> Any:
        raw = message.raw_message
        return [each.value for each in raw] if isinstance(raw, tuple) else raw.value

    subscribed = broker.subscriber(
        events,
        group_id=f"{events}.group",
        batch=True,
        max_records=512,
        batch_timeout_ms=250,
        fetch_min_bytes=1 << 20,
        fetch_max_wait_ms=10,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.NACK_ON_ERROR,
        decoder=as_they_are,
    )
    subscribed(_whole(broker, events) if "--whole" in options else _deciding(broker, decisions))
    uvloop.run(FastStream(broker, logger=None).run())


def _deciding(broker: KafkaBroker, decisions: str) -> Handle:
    work = Work()

    async def decide(values: list[bytes], message: KafkaMessage) -> None:
        answers: dict[int, list[Any]] = defaultdict(list)
        records: Any = message.raw_message
        for record, decided in zip(records, work(values), strict=True):
            answers[record.partition].append(KafkaPublishMessage(decided.value, key=record.key))
        sent = [
            await broker.publish_batch(*batch, topic=decisions, partition=number, no_confirm=True)
            for number, batch in answers.items()
        ]
        await asyncio.gather(*sent)

    return decide


def _whole(broker: KafkaBroker, events: str) -> Handle:
    whole = whole_of(events)

    async def answer(values: list[bytes | None], message: KafkaMessage) -> None:
        del values
        records: Any = message.raw_message
        sent = []
        try:
            written = whole([(record.partition, record.offset, record.key, record.value) for record in records])
            for (topic, number), batch in written.items():
                if topic == whole.dead_letters:
                    for key, value, headers in batch:
                        told = {name: text.decode() for name, text in headers}
                        await broker.publish(value, topic, key=key, partition=number, headers=told)
                else:
                    messages = [KafkaPublishMessage(value, key=key) for key, value, _ in batch]
                    sent.append(await broker.publish_batch(*messages, topic=topic, partition=number, no_confirm=True))
            await asyncio.gather(*sent)
        except Exception:
            # The batch is read again, and must not be taken for its own duplicate.
            whole.forget()
            raise

    return answer


if __name__ == "__main__":
    main()
