"""Windows through the rooms: whatever crashes, moves, repeats or comes late, features equal what training computes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.test_worker import FAST, Crash, Saboteur, committed, run_until
from tests.unit.services.windowed import CODEC, PIPELINE, SCHEMA, offline, served

from guidevane import Ensemble, Fill, Member, Misconfigured, Numeric, WindowCount
from guidevane.contract import Contract
from guidevane.log import Fetch, Message, Partition, Record
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import reasons
from guidevane.runtime.stage import ORIGIN, Stage
from guidevane.runtime.worker import Worker
from guidevane.services.ingest.service import Ingest, ingest_stage
from guidevane.services.preprocess.service import Preprocess, preprocess_stage
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import ManualClock, run_pipeline

pytest.importorskip("faust", reason="the extra 'windows' brings Faust")

PARTITIONS = PIPELINE.partitions
# Where windows of each length begin; earlier times are refused as impossible.
BEGAN_US = 1_699_999_200_000_000
CLOCK = ManualClock()
METRICS = Metrics("p", "test", "i")
# Little at a time, so that much is committed before the next crash.
LIMITS = replace(FAST, fetch=Fetch(max_records=2), max_records=5, transact_every_s=0.0, gather_s=0.001)


def stages() -> list[Stage]:
    """Return new stages, as a new process would have: what the old one remembered is gone."""
    contract = Contract(PIPELINE.event, CODEC)
    ingest = Ingest(PIPELINE, contract, CODEC, clock=CLOCK, metrics=METRICS, secret=b"test" * 8)
    return [ingest_stage(ingest), preprocess_stage(Preprocess(PIPELINE, CODEC))]


modes = st.sampled_from(["effective", "transactional"])


def worker(log: MemoryLog, made: Sequence[Stage], instance: str = "i", mode: str = "effective") -> Worker:
    return Worker(
        made, log=log, dlq="p.dlq", group="g", instance=instance, clock=CLOCK, metrics=METRICS,
        health=Health(CLOCK), limits=LIMITS, mode=mode,
    )  # fmt: skip


visits = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.sampled_from(["ann", "bob", "cid"]),
            "at": st.integers(0, 12 * 60).map(lambda s: BEGAN_US + s * 1_000_000),
            "id": st.one_of(st.none(), st.sampled_from([f"e{i}" for i in range(20)])),
            "paid": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
            "shop": st.sampled_from(["baker", "smith", "grocer"]),
        }
    ),
    min_size=1,
    max_size=40,
)
faults = st.dictionaries(
    st.integers(1, 60), st.sampled_from(["crash before", "crash after", "timeout before", "timeout after"]), max_size=12
)


async def produce(log: MemoryLog, events: Sequence[dict[str, object]]) -> None:
    for event in events:
        number = sum(str(event["who"]).encode()) % PARTITIONS
        await log.append("p.events", number, [Message(b"", orjson.dumps(event))])


def seen(log: MemoryLog, topic: str) -> list[Record]:
    """Return what readers see: committed records."""
    return [record for number in range(PARTITIONS) for record in log.topic(topic)[number].committed()]


def check(log: MemoryLog) -> None:
    assert served(seen(log, "p.features")) == offline(seen(log, "p.accepted"))
    assert [reasons(letter) for letter in seen(log, "p.dlq")] == []


@given(visits, faults, modes)
def test_no_crash_changes_a_feature_in_fused_rooms(events, plan, mode):
    async def scenario():
        log = MemoryLog(PARTITIONS)
        await produce(log, events)
        saboteur = Saboteur(log, plan)
        await run_until(log, lambda: worker(log, stages(), mode=mode), lambda: committed(log) >= len(events), saboteur)
        check(log)

    asyncio.run(scenario())


@given(visits, faults, faults)
def test_no_crash_changes_a_feature_in_rooms_apart(events, first, second):
    async def scenario():
        log = MemoryLog(PARTITIONS)
        await produce(log, events)
        saboteur = Saboteur(log, first)
        await run_until(log, lambda: worker(log, stages()[:1]), lambda: committed(log) >= len(events), saboteur)
        log.groups.clear()
        saboteur.plan, saboteur.count = second, 0
        count = len(log.records("p.accepted"))
        await run_until(log, lambda: worker(log, stages()[1:]), lambda: committed(log, "p.accepted") >= count, saboteur)
        check(log)

    asyncio.run(scenario())


class Fleet:
    """Workers of one group that come, go and crash; who crashed is found out by the group."""

    def __init__(self, log: MemoryLog, saboteur: Saboteur, mode: str) -> None:
        self.log, self.saboteur, self.mode, self.born = log, saboteur, mode, 0
        self.lives: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def join(self) -> None:
        self.born += 1
        stop, name = asyncio.Event(), f"w{self.born}"
        self.lives[name] = (stop, asyncio.create_task(worker(self.log, stages(), name, self.mode).run(stop)))

    async def leave(self) -> None:
        stop, task = next(iter(self.lives.values()))
        stop.set()
        await asyncio.wait([task])

    async def bury(self) -> None:
        """Whoever crashed took the machine with it: nothing of anyone is written any more, or told."""
        if self.saboteur.dead:
            for group in self.log.groups.values():
                for member in list(group.members):
                    group.evict(member)
            for _, task in self.lives.values():
                task.cancel()
        ended = {name: task for name, (_, task) in self.lives.items() if task.done() or self.saboteur.dead}
        for name, result in zip(ended, await asyncio.gather(*ended.values(), return_exceptions=True), strict=True):
            assert result is None or isinstance(result, (Crash, asyncio.CancelledError)), result
            del self.lives[name]

    async def act(self, move: str) -> None:
        self.saboteur.revive()
        if move == "join" and len(self.lives) < 3:
            self.join()
        elif move == "leave" and self.lives:
            await self.leave()
        elif move == "kill":
            self.saboteur.plan[self.saboteur.count + 1] = "crash before"
        for _ in range(20):
            await asyncio.sleep(0)
        await self.bury()


moves = st.lists(st.sampled_from(["join", "leave", "kill", "wait"]), max_size=8)


@given(visits, faults, moves, modes)
def test_no_rebalance_changes_a_feature(events, plan, what, mode):
    async def scenario():
        log = MemoryLog(PARTITIONS)
        await produce(log, events)
        fleet = Fleet(log, Saboteur(log, plan), mode)
        async with asyncio.timeout(20):
            for move in ["join", *what]:
                await fleet.act(move)
            while committed(log) < len(events):
                await fleet.act("wait" if fleet.lives else "join")
                await asyncio.sleep(0.001)
            while fleet.lives:
                await fleet.leave()
                await fleet.bury()
        check(log)

    asyncio.run(scenario())


async def test_events_sent_again_by_a_zombie_count_once():
    log = MemoryLog(PARTITIONS)
    await produce(log, [{"who": "ann", "at": BEGAN_US + i, "shop": "baker"} for i in range(4)])
    await run_until(log, lambda: worker(log, stages()[:1]), lambda: committed(log) >= 4)
    number = next(n for n in range(PARTITIONS) if log.topic("p.accepted")[n])
    zombie = [Message(r.key, r.value, r.headers) for r in log.topic("p.accepted")[number][1:3]]
    await log.append("p.accepted", number, zombie)
    log.groups.clear()
    await run_until(log, lambda: worker(log, stages()[1:]), lambda: committed(log, "p.accepted") >= 6)
    assert [np.frombuffer(v, "<f4")[0] for v in served(log.records("p.features")).values()] == [1, 2, 3, 4]
    assert log.records("p.dlq") == []


async def test_answers_that_someone_deleted_are_not_made_up_and_not_lost():
    log = MemoryLog(PARTITIONS)
    await produce(log, [{"who": "ann", "at": BEGAN_US + i, "shop": "baker"} for i in range(4)])
    await run_until(log, lambda: worker(log, stages()), lambda: committed(log) >= 4)
    log.groups.clear()
    del log.topics["p.features"]
    await run_until(log, lambda: worker(log, stages()), lambda: committed(log) >= 4)
    assert {reason["exception.class"] for reason in map(reasons, log.records("p.dlq"))} == {"windows_ahead"}
    assert len(log.records("p.dlq")) == 4


async def test_a_stale_write_behind_a_newer_one_is_not_believed():
    log = MemoryLog(PARTITIONS)
    await produce(log, [{"who": "ann", "at": BEGAN_US + i, "shop": "baker"} for i in range(3)])
    await run_until(log, lambda: worker(log, stages()), lambda: committed(log) >= 3)
    topic = PIPELINE.windows_topic
    number = next(n for n in range(PARTITIONS) if log.topic(topic)[n])
    written = log.topic(topic)[number]
    memory = stages()[1].memory
    stale = orjson.dumps({**orjson.loads(written[-1].value), "origin": 0})
    await log.append(topic, number, [Message(written[-1].key, stale)])
    await produce(log, [{"who": "ann", "at": BEGAN_US + 3, "shop": "baker"}])
    await run_until(log, lambda: worker(log, stages()), lambda: committed(log) >= 4)
    check(log)
    with pytest.raises(Misconfigured, match=r"no state of these windows.*delete the topic"):
        memory.restore(number, [written[-1]._replace(value=b"garbage")])


async def test_the_table_is_json_that_anyone_can_read():
    log = MemoryLog(PARTITIONS)
    await produce(log, [{"who": "ann", "at": BEGAN_US, "paid": 2.5, "shop": "baker"}])
    await run_until(log, lambda: worker(log, stages()), lambda: committed(log) >= 1)
    [entry] = log.records(PIPELINE.windows_topic)
    body = orjson.loads(entry.value)
    assert orjson.loads(entry.key).startswith(f"{entry.partition}/")
    assert body["origin"] == 0
    minute = BEGAN_US // 60_000_000
    assert body["windows"]["visits"] == {"newest": minute, "panes": [[minute, 1]]}
    assert body["windows"]["paid_mean"]["panes"] == [[minute, [1, "5", 1]]]


async def test_a_broken_record_is_a_dead_letter_of_its_own_and_counts_nowhere():
    log = MemoryLog(PARTITIONS)
    await produce(log, [{"who": "ann", "at": BEGAN_US + i, "shop": "baker"} for i in range(2)])
    await run_until(log, lambda: worker(log, stages()[:1]), lambda: committed(log) >= 2)
    number = next(n for n in range(PARTITIONS) if log.topic("p.accepted")[n])
    await log.append("p.accepted", number, [Message(b"k", b"\x00garbage", ((ORIGIN, b"7"),))])
    log.groups.clear()
    await run_until(log, lambda: worker(log, stages()[1:]), lambda: committed(log, "p.accepted") >= 3)
    assert len(served(log.records("p.features"))) == 2
    assert [reason["exception.class"] for reason in map(reasons, log.records("p.dlq"))] == ["unknown_schema"]


def test_a_memory_wants_one_batch_at_a_time():
    [_, stage] = stages()
    with pytest.raises(Misconfigured, match="concurrency=1"):
        worker(MemoryLog(PARTITIONS), [replace(stage, concurrency=2)])


def test_a_pipeline_without_windows_remembers_nothing_and_does_not_load_faust():
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from guidevane.catalogue import Catalogue\n"
        "from guidevane.codec import Codec\n"
        "from guidevane.loading import load_pipeline\n"
        "from guidevane.services.preprocess.service import Preprocess, preprocess_stage\n"
        "made = load_pipeline('employment')\n"
        "catalogue = Catalogue()\n"
        "catalogue.learn(made.event)\n"
        "assert preprocess_stage(Preprocess(made, Codec(catalogue))).memory is None\n"
        "assert 'faust' not in sys.modules\n"
        "assert not [spec for spec in made.specs() if 'windows' in spec.name]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_what_is_forgotten_comes_back_from_the_changelog_alone():
    log = MemoryLog(PARTITIONS)
    await produce(log, [{"who": "ann", "at": BEGAN_US + i, "shop": "baker"} for i in range(3)])
    await run_until(log, lambda: worker(log, stages()), lambda: committed(log) >= 3)
    number = next(n for n in range(PARTITIONS) if log.topic("p.accepted")[n])
    memory = stages()[1].memory
    memory.restore(number, await log.read(Partition(memory.topic, number), 0))
    last = log.topic("p.accepted")[number][-1]
    [again], changes = memory.advance([last], [2])
    assert again.body.windows is None
    assert changes == {}
    [fresh], _ = memory.advance([last], [3])
    assert fresh.body.windows["visits"] == 4


async def test_an_event_that_does_not_say_when_it_happened_is_the_same_to_training_and_to_serving():
    fields = [{**each, "type": ["null", "long"]} if each["name"] == "at" else each for each in SCHEMA["fields"]]
    features = (WindowCount(60.0, name="visits"), Fill("visits", -1.0), Numeric("visits"))
    event = replace(PIPELINE.event, schema={**SCHEMA, "fields": fields}, pii=())
    ensemble = Ensemble([Member("m", "guidevane.drill.light:Low")])
    pipeline = replace(PIPELINE, event=event, features=features, ensemble=ensemble)
    visits = [{"who": "ann", "at": at, "id": None, "paid": None, "shop": "x"} for at in (BEGAN_US, None, BEGAN_US + 1)]
    log = (await run_pipeline(pipeline, visits)).log
    written = [CODEC.decode("features", record.value, record.headers)["vector"] for record in log.records("p.features")]
    assert b"".join(written) == pipeline.vector.matrix(pipeline.columns(visits)).tobytes()
