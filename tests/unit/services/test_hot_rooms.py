"""The handlers of the hot path, each alone: what they answer, and what they never do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane import Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.contract import Contract
from guidevane.errors import Reject, Retryable
from guidevane.log import Message, Record
from guidevane.runtime.stage import carried, origin_of
from guidevane.services.inference.members import Answer, MemberFailed
from guidevane.services.inference.service import Inference, Patience
from guidevane.services.ingest.persons import Groups
from guidevane.services.ingest.service import Ingest
from guidevane.services.ingest.window import Window
from guidevane.services.postprocess.service import Postprocess
from guidevane.services.preprocess.service import Preprocess
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import ManualClock, hot_stages, run_pipeline

READING = {
    "type": "record",
    "name": "plant.reading",
    "fields": [
        {"name": "sensor", "type": "string"},
        {"name": "value", "type": ["null", "double"], "default": None},
        {"name": "at_us", "type": ["null", "long"], "default": None},
        {"name": "site", "type": "string", "default": "north"},
    ],
}
PIPELINE = Pipeline(
    name="plant",
    event=Event("plant.reading.v1", schema=READING, key="sensor", time="at_us", protected=("site",), pii=("sensor",)),
    features=[Numeric("value")],
    ensemble=Ensemble([Member("a", "m:a", stuck_after_s=0.05), Member("b", "m:b", stuck_after_s=0.05)], quorum=1),
    decision=Threshold(0.5, positive="stop", negative="go"),
    slo=Latency(within_ms=200),
)
CATALOGUE = Catalogue()
CATALOGUE.learn(PIPELINE.event)
CODEC = Codec(CATALOGUE)
CLOCK = ManualClock()
METRICS = Metrics("plant", "test", "test")
CONTRACTS = {
    "ingest": "accepted", "preprocess": "features", "inference": "prediction", "postprocess": "decision",
}  # fmt: skip


def event(i: int, *, partition: int = 0, event_id: str | None = None, **fields: object) -> Record:
    value = orjson.dumps({"sensor": f"s{i}", "value": float(i), **fields})
    headers = (("event_id", event_id.encode()),) if event_id is not None else ()
    return Record("plant.events", partition, i, None, value, headers, CLOCK.now_us())


def ingest(window: int = 100) -> Ingest:
    contract = Contract(PIPELINE.event, CODEC)
    return Ingest(PIPELINE, contract, CODEC, clock=CLOCK, metrics=METRICS, secret=b"k" * 32, window=window)


def onward(messages: list[Message], topic: str = "t") -> list[Record]:
    return [Record(topic, 0, i, m.key, m.value, m.headers) for i, m in enumerate(messages)]


class Members:
    """Answers as told: a score, an exception, or never."""

    def __init__(self, **says: object) -> None:
        self.says = says
        self.asked: list[tuple[str, int]] = []

    async def ask(self, member: str, matrix: np.ndarray) -> Answer:
        self.asked.append((member, len(matrix)))
        said = self.says[member]
        if said == "hangs":
            await asyncio.Event().wait()
        if callable(said):
            return Answer(said(matrix), f"{member}1", 0.001)
        if isinstance(said, Exception):
            raise said
        return Answer(np.full(len(matrix), said), f"{member}1", 0.001)


async def features(values: list[float]) -> list[Record]:
    accepted = await ingest()([event(i, value=v, event_id=f"e{i}") for i, v in enumerate(values)])
    return onward(await Preprocess(PIPELINE, CODEC)(onward(accepted)))


async def predictions(
    members: Members, values: list[float], poison: str = "dead_letter", **patience: float
) -> list[dict]:
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, poison=poison))
    told = Patience(**patience) if patience else None
    inference = Inference(pipeline, members, CODEC, clock=CLOCK, metrics=METRICS, patience=told)
    answers = await inference(await features(values))
    return [m if isinstance(m, Reject) else CODEC.decode("prediction", m.value) for m in answers]


async def test_given_an_event_sent_twice_then_it_is_accepted_once_wherever_it_comes_again():
    room = ingest()
    first = await room([event(0, event_id="e"), event(1, event_id="e"), event(2, partition=3, event_id="e")])
    again = await room([event(7, partition=5, event_id="e"), event(8, event_id="other")])
    assert [isinstance(each, Message) for each in first + again] == [True, False, False, False, True]


@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2))), st.integers(1, 3))
def test_ids_are_remembered_together_as_they_are_one_by_one(batches: list[dict[str, int]], size: int):
    together, alone = Window(size), Window(size)
    for batch in batches:
        new = {event_id: partition for event_id, partition in batch.items() if event_id not in together}
        together.add_all(new)
        for event_id, partition in new.items():
            alone.add(partition, event_id)
        assert together == alone


@pytest.mark.parametrize(
    ("kinds", "events", "groups"),
    [
        ("int", [1, 1, 2, None], [{"a": "1"}, {"a": "1"}, {"a": "2"}, {}]),
        ("string", ["", "x"], [{"a": ""}, {"a": "x"}]),
        ("boolean", [True, False], [{"a": "True"}, {"a": "False"}]),
        ("double", [0.0, -0.0, 1.0], [{"a": "0.0"}, {"a": "-0.0"}, {"a": "1.0"}]),
        (["long", "boolean", "double"], [1, True, 1.0], [{"a": "1"}, {"a": "True"}, {"a": "1.0"}]),
    ],
)
def test_protected_fields_become_words_shared_by_their_group(kinds, events, groups):
    kinds = ["null", *kinds] if isinstance(kinds, list) else ["null", kinds]
    fields = [{"name": "k", "type": "string"}, {"name": "a", "type": kinds}]
    event = Event("p.e.v1", schema={"type": "record", "name": "p.e", "fields": fields}, key="k", protected=("a",))
    for most in (1, 1024):
        shared = Groups(event, most)
        assert [shared.of({"k": "x", "a": each}) for each in events] == groups
    assert shared.of({"k": "x", "a": events[0]}) is shared.of({"k": "y", "a": events[0]})
    assert Groups(replace(event, protected=())).of({"k": "x", "a": 1}) == {}


async def test_given_a_takeover_then_what_was_accepted_before_is_known_again():
    accepted = onward(await ingest()([event(i, event_id=f"e{i}") for i in range(5)]))
    successor = ingest(window=3)
    successor.window.recall(0, accepted[-3:])
    assert [each is None for each in await successor([event(9, event_id=f"e{i}") for i in range(5)])] == [
        False, False, True, True, True,
    ]  # fmt: skip


async def test_given_a_batch_that_fails_half_way_then_nothing_of_it_is_remembered():
    room = ingest()
    room._write = lambda *_: (_ for _ in ()).throw(RuntimeError("a bug"))
    with pytest.raises(RuntimeError):
        await room([event(0, event_id="e")])
    assert "e" not in room.window


async def test_given_personal_fields_then_nobody_is_named_and_the_same_person_stays_the_same():
    one, two, other = await ingest()([event(1, event_id="x"), event(1, site="south", event_id="y"), event(2)])
    assert one.key == two.key != other.key
    assert b"s1" not in one.value + one.key


async def test_given_no_time_in_the_event_then_the_records_counts_and_the_deadline_follows():
    (mine, theirs) = await ingest()([event(1, at_us=1_700_000_000_000_000), event(2)])
    assert (mine.body["event_time_us"], mine.body["deadline_us"]) == (1_700_000_000_000_000, 1_700_000_000_200_000)
    assert theirs.body["event_time_us"] == CLOCK.now_us()


@given(st.binary(max_size=200))
def test_given_any_bytes_then_ingest_answers(value):
    (answer,) = asyncio.run(ingest()([Record("plant.events", 0, 0, None, value)]))
    assert isinstance(answer, (Reject, Message))


async def test_given_a_feature_that_is_not_finite_then_that_event_alone_is_rejected():
    accepted = await ingest()([event(0, value=1.0), event(1, value=None), event(2, value=3.0)])
    answers = await Preprocess(PIPELINE, CODEC)(onward(accepted))
    assert [getattr(each, "cause", "ok") for each in answers] == ["ok", "feature_not_finite", "ok"]


async def test_given_all_members_then_the_answer_is_full_and_says_who_said_what():
    (said,) = await predictions(Members(a=0.2, b=0.6), [1.0])
    assert (said["outcome"], said["score"]) == ("full", pytest.approx(0.4))
    assert [(m["name"], m["version"], m["score"], m["status"]) for m in said["members"]] == [
        ("a", "a1", 0.2, "ok"), ("b", "b1", 0.6, "ok"),
    ]  # fmt: skip


async def test_given_a_member_that_does_not_come_in_time_then_the_others_decide_and_it_is_said():
    (said,) = await predictions(Members(a=0.2, b="hangs"), [1.0], least_s=0.02, late_s=0.02)
    assert (said["outcome"], said["score"]) == ("degraded", pytest.approx(0.2))
    assert [m["status"] for m in said["members"]] == ["ok", "late"]


async def test_given_nobody_in_time_then_the_answer_is_the_fallback():
    (said,) = await predictions(Members(a="hangs", b=Retryable("away")), [1.0], least_s=0.02, late_s=0.02)
    assert (said["outcome"], said["score"]) == ("fallback", None)


@pytest.mark.parametrize("poison", ["dead_letter", "degrade"])
async def test_given_one_event_that_breaks_a_member_then_its_innocents_get_full_answers(poison):
    def fragile(matrix):
        if (matrix == 13.0).any():
            raise MemberFailed("cannot stand 13")
        return np.full(len(matrix), 0.5)

    said = await predictions(Members(a=fragile, b=0.5), [float(i) for i in range(20)], poison=poison)
    broke = said.pop(13)
    assert [each["outcome"] for each in said] == ["full"] * 19
    if poison == "degrade":
        assert broke["outcome"] == "degraded"
    else:
        assert (broke.cause, "event e13: cannot stand 13" in str(broke)) == ("model_failed", True)


async def test_given_a_member_that_is_broken_then_decisions_are_degraded_and_no_event_is_to_blame():
    said = await predictions(Members(a=MemberFailed("broken"), b=0.5), [1.0, 2.0, 3.0])
    assert [each["outcome"] for each in said] == ["degraded"] * 3


async def test_given_an_event_that_breaks_every_member_then_it_is_a_dead_letter():
    def fragile(matrix):
        if (matrix == 3.0).any():
            raise MemberFailed("cannot stand 3")
        return np.full(len(matrix), 0.5)

    said = await predictions(Members(a=fragile, b=lambda m: np.where(m[:, 0] == 3.0, np.nan, 0.5)), [1.0, 3.0])
    assert said[0]["outcome"] == "full"
    assert (said[1].cause, "cannot stand 3" in str(said[1])) == ("model_failed", True)


async def test_given_more_events_than_a_batch_may_have_then_members_are_asked_in_parts():
    members = Members(a=0.1, b=0.1)
    inference = Inference(PIPELINE, members, CODEC, clock=CLOCK, metrics=METRICS)
    inference.knobs.max_batch = 8
    await inference(await features([float(i) for i in range(20)]))
    assert sorted(n for name, n in members.asked if name == "a") == [4, 8, 8]


async def test_given_vectors_of_another_feature_set_then_they_are_rejected():
    (record,) = await features([1.0])
    body = {**CODEC.decode("features", record.value), "feature_set": "another"}
    old = record._replace(value=CODEC.encode("features", body))
    inference = Inference(PIPELINE, Members(a=0.1, b=0.1), CODEC, clock=CLOCK, metrics=METRICS)
    assert [each.cause for each in await inference([old])] == ["feature_set"]


async def test_given_the_same_prediction_later_then_the_decision_has_the_same_bytes():
    (record,) = await features([1.0])
    made = []
    for _ in range(2):
        CLOCK.advance(100.0)
        inference = Inference(PIPELINE, Members(a=0.7, b=0.9), CODEC, clock=CLOCK, metrics=METRICS)
        prediction = onward(await inference([record]))
        post = Postprocess(PIPELINE, CODEC, clock=CLOCK, metrics=METRICS)
        made += await post(prediction)
    assert made[0].value == made[1].value
    decided = CODEC.decode("decision", made[0].value)
    assert (decided["decision"], decided["protected"]) == ("stop", {"site": "north"})


async def test_given_the_whole_hot_path_then_events_become_decisions_and_the_rest_dead_letters():
    sent = [orjson.loads(event(i).value) for i in range(30)]
    done = await run_pipeline(PIPELINE, [*sent, b"\x00\x01", b"{}"], members=Members(a=0.2, b=0.9))
    assert len(done.decisions) == 30
    assert sorted(each["exception.class"] for each in done.dead_letters) == ["missing_field", "truncated"]


EVENTS = st.fixed_dictionaries(
    {"value": st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-50, 50).map(float))},
    optional={
        "event_id": st.text(min_size=1, max_size=40),
        "site": st.text(max_size=20),
        "at_us": st.one_of(st.none(), st.integers(1_500_000_000_000_000, 1_700_000_000_000_000)),
    },
)


@given(st.lists(st.tuples(EVENTS, st.booleans()), min_size=1, max_size=20))
def test_given_any_batch_then_each_value_is_what_the_codec_writes_and_fused_or_apart_are_the_same(drawn):
    sent = [event(i, **fields) for i, (fields, _) in enumerate(drawn)]
    traced = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
    sent = [each._replace(headers=each.headers + traced) if drawn[i][1] else each for i, each in enumerate(sent)]
    assert asyncio.run(written(sent, fused=True)) == asyncio.run(written(sent, fused=False))


async def written(records: list[Record], *, fused: bool) -> list[list[tuple]]:
    """Return what each stage would write, having held each value against the codec's own."""
    # Some rows break one member, some the other.
    members = Members(
        a=lambda matrix: np.where(matrix[:, 0] % 5 == 0, np.nan, np.abs(np.sin(matrix[:, 0]))),
        b=lambda matrix: np.where(matrix[:, 0] % 7 == 0, np.nan, np.abs(np.cos(matrix[:, 0]))),
    )
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, poison="degrade"))
    found = []
    for stage in hot_stages(pipeline, members, CODEC, clock=CLOCK, metrics=METRICS):
        onward: list[Record] = []
        for record, said in zip(records, await stage.handle(records), strict=True):
            if isinstance(said, Message):
                origin = origin_of(record, first=stage.first)
                key, value, headers, body = said.under(carried(record, origin, said, first=stage.first))
                assert CODEC.encode(CONTRACTS[stage.name], CODEC.decode(CONTRACTS[stage.name], value)) == value
                here = (body, origin) if fused else (None, None)
                onward.append(Record(stage.output, record.partition, origin, key, value, headers, 0, *here))
        if not onward:
            break
        records = onward
        found.append([(each.key, each.value, each.headers) for each in onward])
    return found
