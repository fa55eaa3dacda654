"""The drill's own parts: the load and its ledger on disk, the catalogue of faults, the certificate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.drill.certificate import as_json, as_markdown
from guidevane.drill.faults import faults_of
from guidevane.drill.journal import Journal, read_journal
from guidevane.drill.light import pipeline
from guidevane.drill.light.data import load as readings
from guidevane.drill.load import Load
from guidevane.drill.run import Drill, Result, chosen
from guidevane.drill.trial import Trial
from guidevane.errors import Misconfigured, Retryable
from guidevane.ledger import Entry, Finding, Ledger, Oracle, Recovery, Verdict, recovery
from guidevane.local.platform import rooms_of
from guidevane.log.memory import MemoryLog

TOPICS = pipeline.topics


def sending(log: MemoryLog, journal: Journal, **told: float) -> Load:
    catalogue = Catalogue()
    catalogue.learn(pipeline.event)
    return Load(
        pipeline=pipeline, source=readings(), log=log, encode=Codec(catalogue).encoder(pipeline.event.name, version=1),
        ledger=Ledger(), journal=journal, clock=SystemClock(), seed=3, rate_per_s=2000.0, **told,
    )  # fmt: skip


async def sent(load: Load, count: int) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    load.begin("t-")
    async with asyncio.timeout(20):
        while load.sent < count:
            await asyncio.sleep(0.005)
        load.end()
        while load.unacknowledged:
            await asyncio.sleep(0.005)
    stop.set()
    await running


async def test_every_event_of_the_log_is_in_the_ledger_at_its_place_and_again_on_disk(tmp_path: Path):
    log = MemoryLog(pipeline.partitions)
    with Journal(tmp_path / "ledger.jsonl") as journal:
        load = sending(log, journal, poison_share=0.2)
        await sent(load, 300)
    entries = load.ledger.entries
    assert len(entries) == load.sent >= 300
    for event_id, entry in entries.items():
        record = log.topic(TOPICS.events)[entry.partition][entry.offset]
        assert (record.header("event_id"), record.key) == (event_id.encode(), entry.key)
    again = read_journal(tmp_path / "ledger.jsonl").entries
    assert {i: (e.key, e.partition, e.offset, e.due_us, e.expects) for i, e in again.items()} == {
        i: (e.key, e.partition, e.offset, e.due_us, e.expects) for i, e in entries.items()
    }
    assert 20 < sum(e.expects == "malformed" for e in entries.values()) < 120


async def test_a_broker_that_fails_costs_no_event_and_keeps_each_keys_order(tmp_path: Path):
    log, failures = MemoryLog(pipeline.partitions), iter([True, False, True, True, False] * 4)

    def on_send(topic, partition, messages):
        if next(failures, False):
            raise Retryable("away")

    log.on_send = on_send
    with Journal(tmp_path / "ledger.jsonl") as journal:
        load = sending(log, journal)
        await sent(load, 200)
    for partition in log.topic(TOPICS.events):
        numbers = [int(record.header("event_id").removeprefix(b"t-")) for record in partition]
        assert numbers == sorted(numbers)
    assert sum(map(len, log.topic(TOPICS.events))) == load.sent
    assert all(entry.offset is not None for entry in load.ledger.entries.values())


async def test_what_comes_twice_comes_under_the_same_id(tmp_path: Path):
    log = MemoryLog(pipeline.partitions)
    with Journal(tmp_path / "ledger.jsonl") as journal:
        load = sending(log, journal, again_share=0.5)
        await sent(load, 100)
    records = log.records(TOPICS.events)
    assert len({record.header("event_id") for record in records}) == load.sent < len(records)


@pytest.mark.parametrize("rooms", ["apart", "fused"])
def test_every_room_is_killed_and_paused_and_no_name_is_given_twice(rooms):
    names = [fault.name for fault in faults_of(rooms)]
    assert len(names) == len(set(names))
    assert {f"{deed}-{room}" for deed in ("kill", "pause") for room in rooms_of(rooms)} <= set(names)


def test_a_word_chooses_all_faults_that_begin_with_it_and_a_misspelt_one_is_told():
    assert {fault.name for fault in chosen(("broker",), "fused")} == {
        "broker-kill", "broker-stop", "broker-pause", "broker-bounce",
    }  # fmt: skip
    with pytest.raises(Misconfigured, match=r"there is no fault broker-kil with rooms fused .*broker-kill"):
        chosen(("broker-kil",), "fused")


def test_recovery_is_counted_to_the_first_second_in_which_all_went_well():
    def entry(due_s: float, after_s: float | None, outcome: str = "full") -> Entry:
        decided = None if after_s is None else int((due_s + after_s) * 1e6)
        return Entry(int(due_s * 1e6), decided_us=decided, outcome=outcome)

    well = [entry(10 + i / 10, 0.1) for i in range(40)]
    assert recovery(well, began_us=10_000_000, over_us=11_000_000) == Recovery(0.0, 0)
    spoilt = [*well[:25], entry(12.5, 0.1, "degraded"), *well[26:]]
    assert recovery(spoilt[20:], began_us=12_000_000, over_us=12_000_000) == Recovery(0.6, 1)
    assert recovery([*well[:35], entry(13.5, None)], began_us=13_000_000, over_us=13_000_000) == Recovery(None, 1)


def test_given_faults_that_were_tried_more_than_once_then_the_certificate_says_how_recoveries_varied():
    (kill,) = chosen(("kill-fused",), "fused")
    well = Verdict(900, 890, 10, 0)
    took_s = [3.0, 14.0, None, *[2.0] * 7]
    trials = tuple(Trial(fault=kill, verdict=well, recovery=Recovery(each, 200)) for each in took_s)

    def told(*trials: Trial, times: int) -> Result:
        return Result(drill=Drill(rooms="fused", times=times), trials=trials, seconds=60.0)

    page = as_markdown([told(*trials, times=10)])
    assert "8 of 10" not in page and "9 of 10 faults survived" in page
    assert "| kill-fused | 10 | 8 | 1 | 2.0 | never | never | 12 |" in page
    (once,) = as_json([told(*trials[:2], times=2)])["recoveries"]
    assert (once["times"], once["p50_s"], once["p99_s"], once["late"]) == (2, 3.0, 14.0, 1)
    assert as_json([told(trials[0], times=1)])["recoveries"] == []


def test_the_certificate_says_what_failed_and_how():
    (kill,) = chosen(("kill-fused",), "fused")
    (cut,) = chosen(("network-cut",), "fused")
    (disk,) = chosen(("disk-full",), "fused")
    full = Trial(fault=disk, verdict=Verdict(700, 700, 0, 0, commits_back=3), recovery=Recovery(9.0, 90))
    assert full.ok
    assert "`disk-full`: the broker told 3 times of an older commit" in as_markdown(
        [Result(drill=Drill(), trials=(full,), seconds=60.0)]
    )
    lost = Finding(Oracle.LOST, "e7", "at 0/7, without decision and without dead letter")
    result = Result(
        drill=Drill(rooms="fused", seed=5),
        trials=(
            Trial(fault=kill, verdict=Verdict(900, 890, 10, 0), recovery=Recovery(4.25, 200)),
            Trial(fault=cut, verdict=Verdict(800, 799, 0, 0, (lost,)), recovery=Recovery(None, 90)),
            Trial(fault=disk, skipped="needs root"),
        ),
        seconds=60.0,
    )
    made = as_json([result])
    assert not made["ok"] and not result.ok
    assert [(f["name"], f["mode"], f["events"], f["lost"], f["recovery_s"], f["ok"]) for f in made["faults"]] == [
        ("kill-fused", "effective", 900, 0, 4.25, True),
        ("network-cut", "effective", 800, 1, None, False),
    ]
    assert made["skipped"] == [{"name": "disk-full", "mode": "effective", "why": "needs root"}]
    page = as_markdown([result])
    assert "1 of 2 faults survived" in page and "seed 5" in page
    assert "| kill-fused | 900 | 0 | 0 | 0 | 0 | 0 | 10 | 0 | 0 | 4.2 | 12 | kept |" in page
    assert "* lost: `e7` at 0/7" in page and "did not become well again" in page and "was not tried: needs root" in page


@pytest.mark.parametrize("rooms", ["apart", "fused"])
def test_the_faults_of_a_cluster_are_chosen_by_name_and_are_no_others(rooms):
    every = [fault.name for fault in chosen((), rooms, cluster=True)]
    assert len(every) == len(set(every))
    assert not set(every) & {fault.name for fault in faults_of(rooms)}
    assert [fault.name for fault in chosen(["broker"], rooms, cluster=True)] == [
        "broker-lost", "broker-still", "broker-hangs",
    ]  # fmt: skip
    with pytest.raises(Misconfigured, match="there is no fault leaders-mvoe"):
        chosen(["leaders-mvoe"], rooms, cluster=True)
    with pytest.raises(Misconfigured, match="there is no fault leaders-move"):
        chosen(["leaders-move"], rooms)
