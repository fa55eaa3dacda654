from __future__ import annotations

import asyncio
import errno
import os
import random
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import decision, label
from tests.unit.services.monitored import (
    CODEC,
    GROUP,
    PIPELINE,
    TOPICS,
    alerts,
    assert_nothing_was_said_twice,
    feed,
    final,
    outcomes,
    send,
)

from guidevane.clock import SystemClock
from guidevane.errors import Denied, Misconfigured, Retryable
from guidevane.log import Committed, Fetch, Message, Partition
from guidevane.log.memory import MemoryLog
from guidevane.log.memory.group import MemoryConsumer
from guidevane.monitors.outcomes import OutcomeJoin
from guidevane.pipeline import Pipeline
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.retry import Backoff
from guidevane.services.monitors import pages, store
from guidevane.services.monitors.pages import Pages
from guidevane.services.monitors.service import MonitorsRoom, Pace
from guidevane.services.monitors.store import Store
from guidevane.services.monitors.watching import Watcher
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class KilledError(Exception):
    """The process died here."""


class Killer:
    """Lets ``sends`` sends through; then the process is dead: every further one fails too."""

    def __init__(self, sends: int | None = None) -> None:
        self.sends = sends

    def __call__(self, topic: str, partition: int, messages: Sequence[Message]) -> None:
        if topic not in {TOPICS.outcomes, TOPICS.alerts, TOPICS.dlq} or self.sends is None:
            return
        if self.sends == 0:
            raise KilledError
        self.sends -= 1


def room(
    log: MemoryLog, folder: Path, *, every_s: float = 0.02, fetch: int = 64, pipeline: Pipeline = PIPELINE
) -> MonitorsRoom:
    clock = SystemClock()
    metrics = Metrics("p", "monitors", "0")

    def begin(partitions: Mapping[str, int]) -> Watcher:
        join = OutcomeJoin()
        return Watcher(pipeline, CODEC, join, group=GROUP, partitions=partitions, clock=clock, metrics=metrics)

    pace = Pace(
        fetch=Fetch(max_records=fetch),
        poll_s=0.01,
        snapshot_every_s=every_s,
        snapshot_share=1e6,
        backoff=Backoff(0.01, 0.02),
        held_s=0.0,
    )
    return MonitorsRoom(
        begin, Store(folder, pages=Pages(folder, rows_each=32)),
        topics=TOPICS, log=log, group=GROUP, clock=clock, metrics=metrics, health=Health(clock), pace=pace,
    )  # fmt: skip


async def live(log: MemoryLog, working: MonitorsRoom, *, within_s: float = 20.0) -> bool:
    """Run the room until it has read all there is, then stop it; tell whether it survived."""
    stop = asyncio.Event()
    running = asyncio.create_task(working.run(stop))
    try:
        async with asyncio.timeout(within_s):
            while not running.done() and not read_all(log, working):
                await asyncio.sleep(0.002)
    finally:
        stop.set()
        with suppress(KilledError):
            await running
    return running.exception() is None


def read_all(log: MemoryLog, working: MonitorsRoom) -> bool:
    return all(
        working._positions.get(Partition(topic, number), 0) == len(records)
        for topic in (TOPICS.accepted, TOPICS.decisions, TOPICS.labels)
        for number, records in enumerate(log.topic(topic))
    )


async def test_given_a_stream_with_labels_in_any_order_the_outcomes_are_the_offline_join(tmp_path):
    log = MemoryLog(partitions=4)
    truth = await feed(log, random.Random(1), 400)

    assert await live(log, room(log, tmp_path))

    assert final(log) == truth
    assert_nothing_was_said_twice(log)
    places = log.groups[GROUP].places
    assert all(
        places[Partition(TOPICS.labels, number)].offset == len(log.topic(TOPICS.labels)[number]) for number in range(4)
    )
    assert {each["kind"] for each in alerts(log)} == {"quality", "drift", "concept_drift", "fairness", "count"}


@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 40), max_size=4), st.sampled_from([0.0, 0.02, 60.0]))
async def test_given_kills_anywhere_nothing_is_lost_nothing_is_said_twice(
    caplog, tmp_path_factory, seed, kills, every_s
):
    folder = tmp_path_factory.mktemp("state")
    killer = Killer()
    log = MemoryLog(partitions=2, on_send=killer)
    truth = await feed(log, random.Random(seed), 150)

    for life, sends in enumerate(kills):
        killer.sends = sends
        # Each life is handed the records in another order, as Kafka may.
        await live(log, room(log, folder, every_s=every_s, fetch=(64, 7, 30)[life % 3]))
    killer.sends = None
    assert await live(log, room(log, folder, every_s=every_s))

    assert final(log) == truth
    assert_nothing_was_said_twice(log)
    # Had a restart said other things than the life before, these would be missing from what it repeated.
    assert "not repeated" not in caplog.text


async def test_given_a_kill_between_two_sends_the_verdicts_are_those_of_a_room_that_was_never_killed(tmp_path):
    told = []
    for name, kills in (("clean", []), ("killed", [0, 3, 5])):
        killer = Killer()
        log = MemoryLog(partitions=1, on_send=killer)
        await feed(log, random.Random(7), 300)
        for sends in kills:
            killer.sends = sends
            assert not await live(log, room(log, tmp_path / name, every_s=60.0))
        killer.sends = None
        assert await live(log, room(log, tmp_path / name))
        # Kafka promises no order between topics: only what reads outcomes depends on it.
        steady = [alert for alert in alerts(log) if alert["kind"] not in {"concept_drift", "count"}]
        told.append((sorted(steady, key=lambda alert: alert["monitor"]), final(log)))

    assert told[0] == told[1]
    assert len(told[0][0]) > 3


async def test_given_the_state_is_lost_the_room_reads_all_again_and_repeats_no_outcome(tmp_path):
    log = MemoryLog(partitions=2)
    truth = await feed(log, random.Random(3), 100)
    assert await live(log, room(log, tmp_path / "lost"))
    more = await feed(log, random.Random(4), 100)

    assert await live(log, room(log, tmp_path / "fresh"))

    assert final(log).keys() == (truth | more).keys()
    joined = [(each["event_id"], each["revision"]) for each in outcomes(log)]
    assert len(joined) == len(set(joined))


async def test_given_the_state_is_lost_and_a_kill_while_reading_again_no_outcome_is_repeated(tmp_path):
    killer = Killer()
    log = MemoryLog(partitions=1, on_send=killer)
    truth = await feed(log, random.Random(3), 100)
    assert await live(log, room(log, tmp_path / "lost"))
    truth |= await feed(log, random.Random(3), 150)

    killer.sends = 0
    assert not await live(log, room(log, tmp_path / "fresh", every_s=0.0, fetch=16))
    killer.sends = None
    assert await live(log, room(log, tmp_path / "fresh", every_s=0.0, fetch=16))

    assert final(log).keys() == truth.keys()
    joined = [(each["event_id"], each["revision"]) for each in outcomes(log)]
    assert len(joined) == len(set(joined))


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_given_somebody_moved_the_groups_offsets_the_room_goes_on_from_its_snapshot(tmp_path, share):
    killer = Killer(sends=14)
    log = MemoryLog(partitions=2, on_send=killer)
    truth = await feed(log, random.Random(3), 100)
    assert not await live(log, room(log, tmp_path, every_s=0.0, fetch=16))
    assert 0 < log.groups[GROUP].places[Partition(TOPICS.decisions, 0)].offset < len(log.topic(TOPICS.decisions)[0])

    killer.sends = None
    for (topic, number), _ in list(log.groups[GROUP].places.items()):
        place = Committed(int(share * len(log.topic(topic)[number])))
        log.groups[GROUP].places[Partition(topic, number)] = place
    assert await live(log, room(log, tmp_path))

    assert final(log) == truth
    assert_nothing_was_said_twice(log)


async def test_given_a_broker_that_fails_for_a_while_the_room_starts_over_and_repeats_nothing(tmp_path):
    failures = iter([False, True, False, False, True, True])

    def flaky(topic: str, partition: int, messages: Sequence[Message]) -> None:
        if topic in {TOPICS.outcomes, TOPICS.alerts} and next(failures, False):
            raise Retryable("no answer")

    log = MemoryLog(partitions=2, on_send=flaky)
    truth = await feed(log, random.Random(3), 100)

    assert await live(log, room(log, tmp_path))

    assert final(log) == truth
    assert_nothing_was_said_twice(log)


class FullDisk:
    """A disk that is full at some of the writes: half of what was to be written is."""

    def __init__(self, full: set[int]) -> None:
        self.full, self.count, self.refused = full, 0, 0

    def write(self, handle: int, data: bytes) -> None:
        self.count += 1
        if self.count in self.full:
            self.refused += 1
            os.write(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(handle, data)


@pytest.mark.parametrize("full", [{1}, {2}, {3, 4}, set(range(5, 15)), {6, 9, 12, 20, 33}, {*range(2, 60, 3)}])
async def test_given_a_disk_that_is_full_for_a_while_the_room_says_so_goes_on_and_repeats_nothing(
    tmp_path, full, caplog
):
    log, disk = MemoryLog(partitions=2), FullDisk(full)
    truth = await feed(log, random.Random(3), 100)

    with patch.object(pages, "write", disk.write), patch.object(store, "write", disk.write):
        assert await live(log, room(log, tmp_path, every_s=0.0, fetch=16))

    assert disk.refused
    assert f"state in {tmp_path} cannot be kept: No space left on device → make room there" in caplog.text
    assert final(log) == truth
    assert_nothing_was_said_twice(log)


async def test_given_a_folder_that_may_not_be_written_the_room_waits_for_somebody_to_mend_it(tmp_path):
    blocked = tmp_path / "state"
    blocked.write_text("somebody put a file here")
    stop = asyncio.Event()
    working = room(MemoryLog(), blocked)
    running = asyncio.create_task(working.run(stop))
    async with asyncio.timeout(10):
        while "cannot be kept: File exists → make room there" not in str(working._health.report()):
            await asyncio.sleep(0.001)
        blocked.unlink()
        while not working._health.report()[0]:
            await asyncio.sleep(0.001)
    stop.set()
    await running


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (b"", "empty"),
        (None, "empty"),
        (b"garbage", "bad_magic"),
        (b"{", "malformed"),
        (b"{}", "missing_field"),
        (b'{"event_id":"e1"}', "missing_field"),
        (b'{"event_id":"","label":1}', "bad_event_id"),
        (b'{"event_id":7,"label":1}', "bad_event_id"),
        (orjson.dumps({"event_id": "e" * 300, "label": 1}), "bad_event_id"),
        (b'{"event_id":"e1","label":"yes"}', "bad_label"),
        (b'{"event_id":"e1","label":null}', "bad_label"),
        (b'{"event_id":"e1","label":1e999}', "malformed"),
        (CODEC.encode("label", label("e1", float("nan"))), "bad_label"),
        (b'{"event_id":"e1","label":1,"observed_at_us":"now"}', "bad_time"),
        (b'{"event_id":"e1","label":1,"observed_at_us":-1}', "bad_time"),
        (b"{" + b" " * 70_000, "decode_budget"),
        (CODEC.encode("label", label("e1", 1.0))[:9], "truncated"),
        (CODEC.encode("decision", decision("e1")), "wrong_schema"),
    ],
)
async def test_given_a_hostile_label_it_becomes_a_dead_letter_with_its_reason(tmp_path, value, cause):
    log = MemoryLog(partitions=2)
    await send(log, TOPICS.decisions, 0, CODEC.encode("decision", decision("e1")))
    await send(log, TOPICS.labels, 1, value)

    assert await live(log, room(log, tmp_path))

    [letter] = log.records(TOPICS.dlq)
    assert letter.value == value
    assert letter.partition == 1
    why = reasons(letter)
    assert (why["stage"], why["exception.class"], why["topic"], why["group"]) == (
        "monitors",
        cause,
        TOPICS.labels,
        GROUP,
    )
    assert outcomes(log) == []


@pytest.mark.parametrize(
    ("written", "read"), [("1", 1.0), ("0.25", 0.25), ("true", 1.0), ("18446744073709551615", 2.0**64)]
)
async def test_given_a_json_label_it_is_joined_as_an_avro_one_is(tmp_path, written, read):
    log = MemoryLog(partitions=1)
    await send(log, TOPICS.labels, 0, b' {"event_id": "e1", "label": %s, "by": "hand"}' % written.encode())
    await send(log, TOPICS.decisions, 0, CODEC.encode("decision", decision("e1")))

    assert await live(log, room(log, tmp_path))

    [outcome] = outcomes(log)
    assert (outcome["label"], outcome["revision"]) == (read, 0)
    [record] = log.records(TOPICS.outcomes)
    assert (record.key, record.header("event_id")) == (b"e1", b"e1")


async def test_given_a_second_decision_of_an_event_no_monitor_sees_it(tmp_path):
    log = MemoryLog(partitions=1)
    for positive, sex in ((False, "F"), (True, "M")):
        for number in range(5):
            # A zombie wrote the opposite behind the first decision: it would close the gap.
            for told in (positive, not positive):
                value = CODEC.encode("decision", decision(f"{sex}{number}", positive=told, sex=sex))
                await send(log, TOPICS.decisions, 0, value)

    assert await live(log, room(log, tmp_path))

    [alert] = alerts(log)
    assert (alert["monitor"], alert["evidence"]["gap"], alert["evidence"]["decisions"]) == ("parity.sex", 1.0, 10.0)


async def test_given_nonsense_on_our_own_topics_the_room_counts_it_and_goes_on(tmp_path):
    log = MemoryLog(partitions=1)
    await send(log, TOPICS.accepted, 0, b"nonsense")
    await send(log, TOPICS.decisions, 0, b"nonsense")
    await send(log, TOPICS.outcomes, 0, b"nonsense")
    await send(log, TOPICS.decisions, 0, CODEC.encode("decision", decision("e1")))
    await send(log, TOPICS.labels, 0, CODEC.encode("label", label("e1", 1.0)))

    assert await live(log, room(log, tmp_path))

    assert log.records(TOPICS.dlq) == []
    assert len(log.records(TOPICS.outcomes)) == 2


async def test_given_a_monitor_declared_anew_it_begins_now_and_the_others_go_on(tmp_path, caplog):
    log = MemoryLog(partitions=1)
    await feed(log, random.Random(1), 60)
    assert await live(log, room(log, tmp_path))
    *others, parity, third = PIPELINE.monitors
    changed = replace(PIPELINE, monitors=(*others, replace(parity, window=50), third))

    assert await live(log, room(log, tmp_path, pipeline=changed))

    assert caplog.messages == ["monitor parity.sex is changed: it begins now"]


async def test_given_two_rooms_on_one_folder_the_second_refuses(tmp_path):
    store = Store(tmp_path)
    store.open()

    with pytest.raises(Misconfigured, match="once per pipeline"):
        await room(MemoryLog(), tmp_path).run(asyncio.Event())

    store.close()


async def test_given_another_member_in_the_group_the_room_stands_by_until_all_is_its_own(tmp_path):
    log = MemoryLog(partitions=2)
    truth = await feed(log, random.Random(3), 40)
    other = log.consumer([TOPICS.accepted, TOPICS.decisions, TOPICS.labels], group=GROUP, instance="other")
    await other.start()
    stop = asyncio.Event()
    working = room(log, tmp_path)
    running = asyncio.create_task(working.run(stop))
    async with asyncio.timeout(5):
        while "standing by" not in str(working._health.report()):
            await asyncio.sleep(0.002)
    assert outcomes(log) == []

    await other.close()

    async with asyncio.timeout(10):
        while not read_all(log, working):
            await asyncio.sleep(0.002)
    stop.set()
    await running
    assert final(log) == truth
    assert_nothing_was_said_twice(log)


async def test_given_a_room_that_is_thrown_out_again_and_again_then_it_says_that_there_is_another(tmp_path):
    log = MemoryLog(partitions=2)
    stop = asyncio.Event()
    working = room(log, tmp_path)
    running = asyncio.create_task(working.run(stop))
    async with asyncio.timeout(20):
        while "watching" not in str(working._health.report()):
            await asyncio.sleep(0.002)
        for _ in range(3):
            other = log.consumer([TOPICS.accepted], group=GROUP, instance="other")
            await other.start()
            await other.close()
        while "another process is" not in str(working._health.report()):
            await asyncio.sleep(0.002)
    stop.set()
    await running


async def test_given_a_group_that_may_not_commit_then_the_room_says_so_and_takes_itself_for_nobody_else(tmp_path):
    refused = 0
    reports = list[str]()

    async def commit(self: MemoryConsumer, offsets: Mapping[Partition, Committed]) -> None:
        nonlocal refused
        refused += 1
        raise Denied("grant Read on the group")

    log = MemoryLog(partitions=2)
    await feed(log, random.Random(3), 20)
    stop = asyncio.Event()
    working = room(log, tmp_path)
    with patch.object(MemoryConsumer, "commit", commit):
        running = asyncio.create_task(working.run(stop))
        async with asyncio.timeout(20):
            while refused < 9:
                await asyncio.sleep(0.001)
                if refused:
                    reports.append(str(working._health.report()))
    assert not any("'ready': True" in report or "another process" in report for report in reports)
    assert "grant Read on the group" in str(reports)
    async with asyncio.timeout(20):
        while not working._health.report()[0]:
            await asyncio.sleep(0.001)
    stop.set()
    await running


async def test_given_a_transaction_on_the_labels_that_stays_open_then_the_room_says_so_until_it_ends(tmp_path):
    log = MemoryLog(partitions=2)
    holder = await log.transactions("t", name="p")
    await holder.begin()
    await holder.send(TOPICS.labels, 1, [Message(None, b"open")])
    stop = asyncio.Event()
    working = room(log, tmp_path)
    running = asyncio.create_task(working.run(stop))
    async with asyncio.timeout(10):
        while f"{TOPICS.labels}/1 is held up at offset 0" not in str(working._health.report()):
            await asyncio.sleep(0.001)
        assert working._health.report()[0], "it works, and somebody else must end what holds it"
        await holder.commit("g", {})
        while working._health.report()[1]["watch"]:
            await asyncio.sleep(0.001)
    stop.set()
    await running
