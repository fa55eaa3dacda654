"""A partition's records may be cut into batches anywhere: what is said and remembered is the same."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.unit.services.monitored import CODEC, GROUP, PIPELINE, TOPICS, accepted, feed, send

from guidevane.log.memory import MemoryLog
from guidevane.monitors.outcomes import OutcomeJoin
from guidevane.services.monitors.watching import Watcher
from guidevane.telemetry import names
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.log import Record
    from guidevane.services.monitors.watching import Output

READ = (TOPICS.accepted, TOPICS.decisions, TOPICS.labels)


def watcher(*, max_pending: int = 100_000, metrics: Metrics | None = None) -> Watcher:
    return Watcher(
        PIPELINE,
        CODEC,
        OutcomeJoin(max_pending=max_pending),
        group=GROUP,
        partitions=dict.fromkeys((TOPICS.outcomes, TOPICS.alerts, TOPICS.dlq), 4),
        clock=ManualClock(),
        metrics=metrics or Metrics("p", "monitors", "0"),
    )


def taken(by: Watcher, runs: Sequence[Sequence[Record]], rng: random.Random, *, most: int) -> list[Output]:
    """Let it take runs of records, each cut into batches of up to ``most``."""
    said = []
    for records in runs:
        edges = [0]
        while edges[-1] < len(records):
            edges.append(min(edges[-1] + rng.randint(1, most), len(records)))
        for start, stop in pairwise(edges):
            said += by.take(records[start:stop])
    return said


@pytest.mark.parametrize(("seed", "max_pending"), [(1, 100_000), (2, 100_000), (3, 40)])
async def test_given_batches_cut_anywhere_outputs_and_state_are_those_of_one_record_after_another(seed, max_pending):
    log, rng = MemoryLog(partitions=2), random.Random(seed)
    await feed(log, rng, 500)
    for topic in READ:
        # What cannot be read, in the middle of it.
        log.topic(topic)[0].insert(20, log.topic(topic)[0][20]._replace(value=b"\x00garbage"))
    # Runs of one partition, in an order that a log may give them in.
    runs = [log.topic(topic)[number][at : at + 120] for at in (0, 120) for topic in READ for number in range(2)]
    expected = taken(whole := watcher(max_pending=max_pending), runs, rng, most=1)

    # Of a hundred, columns are read; but not where one of them cannot be.
    for most in (5, 60, 1000):
        by = watcher(max_pending=max_pending)

        assert taken(by, runs, rng, most=most) == expected
        assert orjson.dumps([by.state(), by.join.state()]) == orjson.dumps([whole.state(), whole.join.state()])
        assert by.join.counts == whole.join.counts
    assert {each.topic for each in expected} == {TOPICS.outcomes, TOPICS.alerts, TOPICS.dlq}


async def test_given_records_of_our_own_topics_that_cannot_be_read_they_are_counted_and_nothing_is_said():
    log, metrics = MemoryLog(), Metrics("p", "monitors", "0")
    for value in (accepted("e1", 30.0, "F"), None, b"\x00garbage", accepted("e2", 30.0, "M")):
        await send(log, TOPICS.accepted, 0, value)

    assert watcher(metrics=metrics).take(log.records(TOPICS.accepted)) == []

    counted = {dict(series.labels)["result"]: n for series, n in metrics.standing(names.EVENTS_TOTAL)}
    assert counted == {"out": 2.0, "reject": 2.0}
