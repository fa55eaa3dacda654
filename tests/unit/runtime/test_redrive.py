"""Dead letters sent again: each once, whole, whatever crashes between; and what their events' outcomes are then."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane import Ensemble, Event, Member, Numeric, Pipeline
from guidevane.errors import Misconfigured, Reject, TooLarge
from guidevane.events import derived_id
from guidevane.ledger import Entry, Oracle, held_of, judge
from guidevane.log import Message, Record
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import dead_letter, reasons, without_content
from guidevane.runtime.redrive import Sent, journal, plan, redrive
from guidevane.runtime.stage import REDRIVE
from guidevane.services.inference.members import Answer, MemberFailed
from guidevane.testing import run_pipeline
from guidevane.topics import Topics

TOPICS = Topics("plant")
READING = {
    "type": "record", "name": "plant.reading",
    "fields": [{"name": "sensor", "type": "string"}, {"name": "value", "type": "double"}],
}  # fmt: skip
PIPELINE = Pipeline(
    name="plant",
    event=Event("plant.reading.v1", schema=READING, key="sensor", ranges={"value": (0, 10)}),
    features=[Numeric("value")],
    ensemble=Ensemble([Member("a", "m:a")]),
    partitions=1,
)
MENDED = replace(PIPELINE, event=Event("plant.reading.v1", schema=READING, key="sensor", ranges={"value": (0, 99)}))


class Crash(BaseException):
    """As kill -9."""


class Members:
    def __init__(self, *, mended: bool) -> None:
        self.mended = mended

    async def ask(self, member: str, matrix: np.ndarray) -> Answer:
        if not self.mended and (matrix == 7).any():
            raise MemberFailed("a: cannot stand 7")
        return Answer(np.full(len(matrix), 0.75), "1", 0.0)


def reading(value: float, *headers: tuple[str, bytes], key: bytes | None = b"k") -> Message:
    return Message(key, orjson.dumps({"sensor": "s", "value": value}), headers)


async def all_of(log: MemoryLog) -> int:
    return await redrive(log, TOPICS, await plan(log, TOPICS, log.records(TOPICS.dlq)))


async def letters(log: MemoryLog, count: int) -> None:
    """Write dead letters of both sorts: some hold their event, of some it lies on the events topic."""
    for number in range(count):
        part = number % 2
        event = Message(b"k%d" % number, b"v%d\xff" % number, (("app", b"1"), ("gv.origin", b"99")))
        at = await log.append(TOPICS.events, part, [event])
        record = Record(TOPICS.events, part, at, *event[:3])
        if number % 3 == 0:
            record = Record(TOPICS.features, part, 5, b"pseudonym", b"features", (("gv.origin", b"%d" % at),))
        letter = dead_letter(record, Reject("c", "why"), stage="s", group="g", now_us=0, origin=at)
        await log.append(TOPICS.dlq, part, [letter])


@settings(max_examples=40)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=6))
def test_wherever_it_crashes_each_letter_is_sent_once_and_as_it_first_came(count, crashes):
    async def scenario():
        log = MemoryLog(2)
        await letters(log, count)
        append, before = log.append, {n: len(part) for n, part in enumerate(log.topic(TOPICS.events))}
        for at, written in crashes:
            left = [at]

            async def sabotaged(topic, partition, messages, left=left, written=written):
                left[0] -= 1
                if not left[0]:
                    if written:
                        await append(topic, partition, messages)
                    raise Crash
                return await append(topic, partition, messages)

            log.append = sabotaged
            try:
                await all_of(log)
            except Crash:
                continue
        log.append = append
        await all_of(log)
        assert await all_of(log) == 0, "a second redrive sends nothing"
        for number, records in enumerate(log.topic(TOPICS.events)):
            sent = records[before[number] :]
            assert [r.header(REDRIVE).decode() for r in sent] == [f"{number}/{i}" for i in range(before[number])]
            for i, again in enumerate(sent):
                first = records[i]
                assert (again.key, again.value, again.headers[:-2]) == (first.key, first.value, first.headers)
        told = await journal(log, TOPICS)
        assert len(told) == count and all(each.at is not None for each in told.values())

    asyncio.run(scenario())


async def test_what_is_too_large_for_the_events_topic_keeps_nothing_else_back():
    log = MemoryLog(1)
    for value in (b"a", bytes(100_000), b"b"):
        record = Record(TOPICS.events, 0, await log.append(TOPICS.events, 0, [Message(b"k", value)]), b"k", value)
        letter = dead_letter(record, Reject("c", "why"), stage="ingest", group="g", now_us=0, origin=record.offset)
        await log.append(TOPICS.dlq, 0, [letter])

    def on_send(topic, partition, messages):
        if topic == TOPICS.events and (largest := max(message.size_bytes for message in messages)) > 90_000:
            raise TooLarge(topic, largest)

    log.on_send = on_send
    with pytest.raises(Misconfigured, match=r"2 sent, but .*events takes nothing as large as 0/1"):
        await all_of(log)
    assert [record.value for record in log.records(TOPICS.events)[3:]] == [b"a", b"b"]
    log.on_send = None
    assert await all_of(log) == 1


async def test_what_was_left_out_of_a_letter_is_sent_again_from_where_it_lies():
    log = MemoryLog(1)
    event = Message(b"k", bytes(100), (("app", b"1"),))
    record = Record(TOPICS.events, 0, await log.append(TOPICS.events, 0, [event]), *event[:3])
    letter = dead_letter(record, Reject("c", "why"), stage="ingest", group="g", now_us=0, origin=0)
    await log.append(TOPICS.dlq, 0, [without_content(letter)])
    assert await all_of(log) == 1
    again = log.records(TOPICS.events)[1]
    assert (again.key, again.value, again.headers[:-2]) == tuple(event[:3])


async def test_a_label_that_came_with_an_origin_is_no_event_to_be_sent_again():
    log = MemoryLog(1)
    await log.append(TOPICS.events, 0, [Message(b"k", b"an event")])
    label = Record(TOPICS.labels, 0, 0, b"k", b"bad", (("gv.origin", b"0"),))
    await log.append(TOPICS.dlq, 0, [dead_letter(label, Reject("c", "why"), stage="monitors", group="g", now_us=0)])
    assert await all_of(log) == 0


async def test_an_event_that_nobody_holds_any_more_is_told_and_not_invented():
    log = MemoryLog(2)
    record = Record(TOPICS.features, 0, 5, b"k", b"v", (("gv.origin", b"17"),))
    letter = dead_letter(record, Reject("c", "why"), stage="s", group="g", now_us=0, origin=17)
    await log.append(TOPICS.dlq, 0, [letter])
    (step,) = await plan(log, TOPICS, log.records(TOPICS.dlq))
    assert (step.state, step.message) == ("gone", None)
    assert await all_of(log) == 0


async def run(pipeline: Pipeline, log: MemoryLog, sent: list[Message], *, mended: bool):
    return await run_pipeline(pipeline, sent, members=Members(mended=mended), log=log)


async def test_what_died_in_ingest_or_in_a_model_is_decided_when_it_is_mended_under_the_same_id():
    log = MemoryLog(1)
    await run(
        PIPELINE, log, [reading(1), reading(50, key=None), reading(7, ("event_id", b"e7")), reading(2)], mended=False
    )
    assert [reasons(r)["exception.class"] for r in log.records(TOPICS.dlq)] == ["out_of_range", "model_failed"]
    assert await all_of(log) == 2
    done = await run(MENDED, log, [], mended=True)
    assert done.decisions.keys() == {"e7", *(derived_id(TOPICS.events, "0", str(n)) for n in (0, 1, 3))}
    again = {r.header("event_id").decode(): r.header(REDRIVE) for r in log.records(TOPICS.decisions)}
    assert again["e7"] == b"0/1"
    assert again[derived_id(TOPICS.events, "0", "1")] == b"0/0"
    assert list(again.values()).count(None) == 2
    assert len(log.records(TOPICS.decisions)) == 4


@pytest.mark.parametrize("forged", [False, True])
async def test_the_checker_takes_a_redriven_decision_for_no_conflict_and_one_that_only_says_so_for_one(forged):
    log = MemoryLog(1)
    await run(PIPELINE, log, [reading(7, ("event_id", b"e7"))], mended=False)
    await all_of(log)
    await run(MENDED, log, [], mended=True)
    if forged:
        for record in log.records(TOPICS.decisions):
            said = tuple((name, b"0/9" if name == REDRIVE else value) for name, value in record.headers)
            await log.append(TOPICS.decisions, 0, [Message(record.key, record.value, said)])
    held = await held_of(log, TOPICS)
    verdict = judge({"e7": Entry(due_us=0, key=b"k", partition=0, offset=0)}, held)
    assert verdict.count(Oracle.CONFLICT) == int(forged)


async def test_what_dies_again_has_a_letter_of_its_own_and_may_be_sent_once_more():
    log = MemoryLog(1)
    await run(PIPELINE, log, [reading(50), reading(7)], mended=False)
    assert await all_of(log) == 2
    await run(PIPELINE, log, [], mended=False)
    assert [r.header(REDRIVE) for r in log.records(TOPICS.dlq)] == [None, None, b"0/0", b"0/1"]
    assert await all_of(log) == 2, "the new letters, and not the old ones again"
    done = await run(MENDED, log, [], mended=True)
    assert done.decisions.keys() == {derived_id(TOPICS.events, "0", str(n)) for n in (0, 1)}


async def test_who_only_claims_to_redrive_is_a_duplicate_like_any_other():
    log = MemoryLog(1)
    await run(PIPELINE, log, [reading(50), reading(1, ("event_id", b"e1"))], mended=False)
    forged = [
        reading(1, ("event_id", b"e1"), (REDRIVE, claim)) for claim in (b"0/0", b"0/99", b"7/0", b"\xff", b"0/-1")
    ]
    await run(PIPELINE, log, forged, mended=False)
    assert len(log.records(TOPICS.decisions)) == 1


async def test_an_event_that_its_producer_sent_again_meanwhile_is_not_decided_twice():
    log = MemoryLog(1)
    await run(PIPELINE, log, [reading(50, ("event_id", b"e1"))], mended=False)
    await run(MENDED, log, [reading(50, ("event_id", b"e1"))], mended=True)
    assert await all_of(log) == 1
    await run(MENDED, log, [], mended=True)
    assert len(log.records(TOPICS.decisions)) == 1


async def test_given_notes_that_none_of_ours_wrote_then_the_others_are_read_all_the_same():
    log = MemoryLog(1)
    strange = [Message(b"\xff", b"{}"), Message(b"k", b"garbage"), Message(None, b"[]"), Message(b"k", b"7")]
    await log.append(TOPICS.redrives, 0, [*strange, Message(b"0/3", b'{"at": "0/9", "after": 4}')])
    assert await journal(log, TOPICS) == {"0/3": Sent("0/9", 4)}
