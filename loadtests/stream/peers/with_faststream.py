"""FastStream: a batch subscriber, and a batch published for each partition.

At least once as its page on acknowledgements has it: a consumer group, and a policy that commits after the handler
(``NACK_ON_ERROR``: a batch that raises is read again). Values are bytes, so the decoder hands them on as they are;
``publish_batch`` fills one partition, so each input partition's answers are one batch, all awaited together.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage, KafkaPublishMessage

from loadtests.stream.work import Work


def main() -> None:
    """Run until told to stop."""
    events, decisions = sys.argv[1:]
    work = Work()
    broker = KafkaBroker(
        os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", enable_idempotence=True, max_batch_size=1 << 20, logger=None
    )

    async def as_they_are(message: Any) -> Any:
        raw = message.raw_message
        return [each.value for each in raw] if isinstance(raw, tuple) else raw.value

    @broker.subscriber(
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

    uvloop.run(FastStream(broker, logger=None).run())


if __name__ == "__main__":
    main()
