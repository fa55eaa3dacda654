"""Given a room's numbers, when a second is over, then they are on the topic, and trouble there stays there."""

from __future__ import annotations

import asyncio
import logging

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.log.memory import MemoryLog
from guidevane.telemetry import names
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.publisher import Publisher
from guidevane.topics import TELEMETRY

CODEC = Codec(Catalogue())


class Clock:
    def __init__(self) -> None:
        self.us = 5_000_000

    def now_us(self) -> int:
        self.us += 1_000_000
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1e6


async def publisher_on(log: MemoryLog) -> tuple[Metrics, Publisher]:
    metrics = Metrics("employment", "inference", "0")
    producer = await log.producer(name="telemetry")
    return metrics, Publisher(metrics, producer, CODEC.encoder("telemetry"), Clock())


async def test_given_counts_when_published_then_the_event_holds_them_and_names_its_room() -> None:
    log = MemoryLog()
    metrics, publisher = await publisher_on(log)
    metrics.count(names.FENCED_TOTAL, 2)
    metrics.observe(names.BATCH_SIZE, 8.0, stage="inference")

    assert await publisher.publish()

    (record,) = log.records(TELEMETRY)
    event = CODEC.decode("telemetry", record.value)
    assert record.key == b"employment/inference/0"
    assert event["counters"] == {"guidevane_fenced_total": 2.0}
    assert event["histograms"]["guidevane_batch_size|stage=inference"]["sum"] == 8.0


async def test_given_a_running_publisher_when_stopped_then_the_last_interval_is_written_too() -> None:
    log, stop = MemoryLog(), asyncio.Event()
    metrics, publisher = await publisher_on(log)
    running = asyncio.create_task(publisher.run(stop, every_s=0.001))
    async with asyncio.timeout(5), log.arrived:
        await log.arrived.wait_for(lambda: len(log.records(TELEMETRY)) >= 2)
    metrics.count(names.FENCED_TOTAL)
    stop.set()
    await running

    events = [CODEC.decode("telemetry", record.value) for record in log.records(TELEMETRY)]
    assert sum(event["counters"].get("guidevane_fenced_total", 0.0) for event in events) == 1.0
    assert all(event["interval_s"] > 0 for event in events)


async def test_given_a_log_that_fails_when_published_then_it_is_counted_told_once_and_never_raised(caplog) -> None:
    def fail(*_) -> None:
        raise OSError("gone")

    log = MemoryLog(on_send=fail)
    metrics, publisher = await publisher_on(log)
    with caplog.at_level(logging.WARNING):
        assert not await publisher.publish()
        assert not await publisher.publish()
    log.on_send = None

    assert await publisher.publish()
    assert len(caplog.records) == 1
    assert metrics.drain(0)["counters"] == {"guidevane_telemetry_failures_total": 0.0}
    (record,) = log.records(TELEMETRY)
    assert CODEC.decode("telemetry", record.value)["counters"] == {"guidevane_telemetry_failures_total": 1.0}
