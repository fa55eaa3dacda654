"""Poison among events: each kind becomes a dead letter that says why, and no innocent pays for it."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane import Ensemble, Event, Member, Numeric, Pipeline
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.log import Message
from guidevane.pipelines.employment import pipeline as employment
from guidevane.pipelines.employment.data import load
from guidevane.runtime.deadletter import PREFIX, reasons
from guidevane.services.inference.members import Answer
from guidevane.testing import Poison, poison, run_pipeline

READING = {
    "type": "record",
    "name": "plant.reading",
    "fields": [
        {"name": "reading_id", "type": "long"},
        {"name": "sensor", "type": "string"},
        {"name": "value", "type": "double"},
        {"name": "rank", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "photo", "type": ["null", "bytes"], "default": None},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
    ],
}
PLANT = Pipeline(
    name="plant",
    event=Event("plant.reading.v1", schema=READING, key="sensor", id="reading_id", time="at", ranges={"rank": (0, 9)}),
    features=[Numeric("value")],
    ensemble=Ensemble([Member("a", "m:a"), Member("b", "m:b")]),
    partitions=1,
)
GOOD = {
    "reading_id": 0, "sensor": "s", "value": 1.5, "rank": 3, "at": 1_700_000_000_000, "photo": b"\x00\xff",
    "tags": ["x"],
}  # fmt: skip
CATALOGUE = Catalogue()
CATALOGUE.learn(PLANT.event)
CODEC = Codec(CATALOGUE)
POISON = poison(PLANT.event, GOOD, CODEC)


class Members:
    async def ask(self, member: str, matrix: np.ndarray) -> Answer:
        return Answer(np.full(len(matrix), 0.75), "1", 0.0)


def innocent(number: int) -> Message:
    body = {**GOOD, "reading_id": number}
    if number % 2:
        return Message(b"k", CODEC.encoder("plant.reading", version=1)(body))
    return Message(b"k", orjson.dumps({**body, "photo": "AP8="}))


def check(sent: list[Message], done) -> None:
    innocents = {str(number) for number in range(sum("poison" not in dict(m.headers) for m in sent))}
    letters = {record.header("poison").decode(): record for record in done.log.records("plant.dlq")}
    assert done.decisions.keys() == innocents, "every innocent is decided"
    assert len(letters) == len(done.log.records("plant.dlq")), "no letter is written twice"
    dosed = {dict(m.headers)["poison"].decode(): m for m in sent if "poison" in dict(m.headers)}
    assert letters.keys() == dosed.keys()
    by_kind = {each.kind: each for each in POISON}
    for kind, record in letters.items():
        why = reasons(record)
        assert why["stage"] == "ingest"
        assert why["exception.class"] in by_kind[kind].causes, kind
        assert why["message"]
        assert (record.key, record.value) == (dosed[kind].key, dosed[kind].value)
        assert tuple(h for h in record.headers if not h[0].startswith(PREFIX))[:-1] == dosed[kind].headers


@pytest.mark.parametrize(("event", "good"), [(PLANT.event, GOOD), (employment.event, load().event(0, event_id="e"))])
def test_there_are_more_than_thirty_kinds_for_a_contract_and_the_same_seed_gives_the_same(event, good):
    once, again = poison(event, good, CODEC, seed=3), poison(event, good, CODEC, seed=3)
    assert once == again
    assert len({each.kind for each in once}) == len(once) > 60


async def test_one_percent_of_every_kind_among_events_is_set_aside_and_all_others_are_decided():
    sent: list[Message] = []
    number = 0
    for each in POISON:
        for _ in range(99):
            sent.append(innocent(number))
            number += 1
        sent.append(each.message)
    random.Random(5).shuffle(sent)
    # Innocents keep their numbers, whatever the order; ids are what is counted.
    check(sent, await run_pipeline(PLANT, sent, members=Members(), within_s=60))


@settings(max_examples=10)
@given(
    st.lists(st.sampled_from(POISON), max_size=20, unique=True), st.integers(0, 20), st.randoms(use_true_random=False)
)
def test_however_poison_comes_in_crowds_no_innocent_pays_for_it(dose: list[Poison], count: int, rng):
    sent = [*(each.message for each in dose), *(innocent(number) for number in range(count))]
    rng.shuffle(sent)
    check(sent, asyncio.run(run_pipeline(PLANT, sent, members=Members())))


async def test_two_ids_that_are_no_text_are_no_duplicates_of_each_other():
    sent = [Message(None, innocent(0).value, (("event_id", bad),)) for bad in (b"\xff", b"\xfe")]
    done = await run_pipeline(PLANT, sent, members=Members())
    assert [each["exception.class"] for each in done.dead_letters] == ["bad_event_id"] * 2
