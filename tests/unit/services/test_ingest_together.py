"""Many events that ingest accepts by columns are what they are one by one: messages, rejections, and what is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane import Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.columns import FEWEST
from guidevane.contract import Contract
from guidevane.errors import Reject, Retryable
from guidevane.log import Message, Record
from guidevane.services.ingest.service import Ingest
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import ManualClock

CLOCK, METRICS = ManualClock(), Metrics("t", "t", "t")
NOW_US = CLOCK.now_us()
KIND = {"type": "enum", "name": "shop.kind", "symbols": ["a", "b"]}


def ingest(event: Event, share: float = 0.0) -> Ingest:
    pipeline = Pipeline(
        name="shop", event=event, features=[Numeric("amount")], ensemble=Ensemble([Member("a", "m:a")]),
        decision=Threshold(), slo=Latency(within_ms=200),
    )  # fmt: skip
    codec = Codec(Catalogue())
    contract = Contract(event, codec)
    return Ingest(
        pipeline, contract, codec, clock=CLOCK, metrics=METRICS, secret=b"k" * 32, window=150, trace_share=share
    )


def event(key: str, fields: list[dict[str, Any]], **told: Any) -> Event:
    fields = [{"name": "amount", "type": "double"}, *fields]
    return Event("shop.sale.v1", schema={"type": "record", "name": "shop.sale", "fields": fields}, key=key, **told)


SALE = event(
    "customer",
    [
        {"name": "friend", "type": ["null", "string"]},
        {"name": "customer", "type": "string"},
        {"name": "number", "type": ["string", "null"]},
        {"name": "at", "type": ["null", "long"]},
        {"name": "kind", "type": KIND},
        {"name": "size", "type": "int"},
        {"name": "new", "type": "boolean"},
    ],
    id="number", time="at", protected=("kind", "new", "size"), pii=("customer", "friend"), longest=50,
    ranges={"size": (0, 70)},
)  # fmt: skip
VISIT = event(
    "shop", [{"name": "shop", "type": "long"}, {"name": "share", "type": ["null", "float"]}], protected=("share",)
)
SALES = st.fixed_dictionaries({
    "amount": st.floats(allow_nan=False, allow_infinity=False),
    "friend": st.none() | st.text(max_size=9),
    "customer": st.text(min_size=1, max_size=9),
    "number": st.none() | st.text(max_size=9),
    "at": st.none() | st.integers(NOW_US - 10**9, NOW_US + 10**9),
    "kind": st.sampled_from("ab"),
    "size": st.integers(0, 70),
    "new": st.booleans(),
})  # fmt: skip
VISITS = st.fixed_dictionaries({
    "amount": st.floats(allow_nan=False, allow_infinity=False),
    "shop": st.integers(-(2**40), 2**40),
    "share": st.none() | st.sampled_from([0.0, -0.0, 1.5]),
})  # fmt: skip


def records(room: Ingest, bodies: list[Mapping[str, Any]]) -> list[Record]:
    encode = room.contract.encode
    return [
        Record("shop.events", at % 3, at, None, encode({**body, "number": body["number"] and f"{at} {body['number']}"})
               if "number" in body else encode(body), (), NOW_US + at)
        for at, body in enumerate(bodies)
    ]  # fmt: skip


def told(answers: list[Any]) -> list[Any]:
    """Return answers as they can be compared: what a body has only where it was read alone is left out."""
    return [
        (each.key, each.value, each.headers, {name: each.body[name] for name in each.body if name != "fields"})
        if isinstance(each, Message)
        else (each.cause,) if isinstance(each, Reject) else each
        for each in answers
    ]  # fmt: skip


def both(event: Event, given_: list[Record] | None, bodies: list[Mapping[str, Any]], share: float = 0.0) -> list[Any]:
    """Answer records together and one by one, twice each: the second time, all of it came before."""
    many, alone = ingest(event, share), ingest(event, share)
    sent = given_ if given_ is not None else records(many, bodies)
    answered: list[list[Any]] = []
    for _ in range(2):
        found = told(asyncio.run(many(sent)))
        wanted = [each for record in sent for each in told(asyncio.run(alone([record])))]
        for each, other in zip(found, wanted, strict=True):
            assert each == other
        assert many.window == alone.window
        answered.append(found)
    return answered[0]


def padded(drawn: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return (drawn * FEWEST)[: FEWEST + len(drawn)]


@settings(max_examples=40, deadline=None)
@given(st.lists(SALES, min_size=1, max_size=9), st.sampled_from([0.0, 0.5]))
def test_events_are_the_same_together_and_one_by_one(drawn, share):
    found = both(SALE, None, padded(drawn), share)
    assert all(isinstance(each, tuple) and len(each) == 4 for each in found)


@settings(max_examples=20, deadline=None)
@given(st.lists(VISITS, min_size=1, max_size=9))
def test_events_without_ids_times_or_persons_are_the_same_together_and_one_by_one(drawn):
    assert all(len(each) == 4 for each in both(VISIT, None, padded(drawn)))


GOOD = {
    "amount": 1.0, "friend": None, "customer": "c", "number": "n", "at": None, "kind": "a", "size": 3, "new": True,
}  # fmt: skip


JSON = (
    b'{"amount": 1, "customer": "c", "number": "%d", "friend": null, "at": null, "kind": "a", "size": 3, "new": true}'
)


def looked_at_alone(room: Ingest, sent: list[Record]) -> list[int]:
    """Answer records; return the offsets of those that were looked at alone."""
    looked: list[int] = []
    cut = room.contract.cut

    def looking(record: Record) -> Any:
        looked.append(record.offset)
        return cut(record)

    room.contract.cut = looking  # type: ignore[method-assign]
    asyncio.run(room(sent))
    return looked


def test_they_really_are_read_together():
    room = ingest(SALE)
    sent = records(room, [GOOD] * FEWEST)
    assert room.contract.together(sent) is not None
    assert looked_at_alone(room, sent) == []
    assert looked_at_alone(room, sent) == [], "all of it came before"
    assert len(looked_at_alone(room, sent[1:])) == FEWEST - 1, "too few"


@pytest.mark.parametrize("wrong", [{"amount": float("nan")}, {"number": "x" * 51}])
def test_one_among_many_has_those_near_it_looked_at_alone_and_no_others(wrong):
    bodies = [GOOD] * (4 * FEWEST)
    bodies[3 * FEWEST] = {**GOOD, **wrong}
    sent = records(ingest(SALE), bodies)
    assert looked_at_alone(ingest(SALE), sent) == [*range(2 * FEWEST, 4 * FEWEST)]
    assert sum(len(each) == 4 for each in both(SALE, sent, [])) == len(sent) - 1


def test_where_the_first_of_them_is_written_otherwise_nothing_more_is_tried():
    sent = [record._replace(value=JSON % record.offset) for record in records(ingest(SALE), [GOOD] * (4 * FEWEST))]
    room = ingest(SALE)
    tried: list[int] = []
    together = room.contract.together
    room.contract.together = lambda some: tried.append(len(some)) or together(some)  # type: ignore[func-returns-value, method-assign]
    assert looked_at_alone(room, sent) == [*range(len(sent))]
    assert tried == [len(sent)]


def test_those_that_came_before_are_left_out_and_the_others_still_read_together():
    sent = records(ingest(SALE), [GOOD] * (3 * FEWEST))
    # Of one batch, some come twice in it, and some came with the batch before.
    again = [*sent[:FEWEST], *sent[FEWEST // 2 :], *sent[-9:]]
    room = ingest(SALE)
    asyncio.run(room(sent[:9]))
    assert looked_at_alone(room, again) == []
    both(SALE, again, [])


def test_given_a_batch_that_fails_then_nothing_of_it_is_remembered():
    sent = records(ingest(SALE), [GOOD] * (4 * FEWEST))
    sent[-1] = sent[-1]._replace(headers=(("gv.redrive.of", b"3/42"),))

    async def gone(_: Any) -> Any:
        raise Retryable("the broker is gone")

    room = ingest(SALE)
    room._letters = gone
    with pytest.raises(Retryable):
        asyncio.run(room(sent))
    assert room.window == ingest(SALE).window
    room._letters = None
    assert None not in asyncio.run(room(sent))


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"amount": float("nan")}, "not_finite"),
        ({"size": 71}, "out_of_range"),
        ({"size": -1}, "out_of_range"),
        ({"customer": ""}, "empty_key"),
        ({"friend": "x" * 51}, "too_long"),
        ({"at": 5}, "bad_time"),
        ({"at": NOW_US + 10**15}, "bad_time"),
        ({"number": "x" * 40 + "y" * 10}, "too_long"),
    ],
)
def test_one_that_breaks_the_contract_is_refused_alone(wrong, cause):
    bodies = [GOOD] * FEWEST
    bodies[7] = {**GOOD, **wrong}
    found = both(SALE, None, bodies)
    assert [each[0] for each in found if len(each) == 1] == [cause]
    assert sum(len(each) == 4 for each in found) == FEWEST - 1


def test_traces_and_headers_of_the_producers_own_are_no_reason_to_look_at_events_alone():
    traced = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    sent = [
        record._replace(headers=((traced,), (("mine", b"x"), traced), (("mine", None),), ())[at % 4])
        for at, record in enumerate(records(ingest(SALE), [GOOD] * FEWEST))
    ]
    assert looked_at_alone(ingest(SALE), sent) == []
    found = both(SALE, sent, [])
    assert [[name for name, _ in headers] for _, _, headers, _ in found[:4]] == [
        ["event_id", "traceparent"], ["event_id", "traceparent"], ["event_id"], ["event_id"],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["event_id", "gv.redrive.of"])
def test_who_says_which_event_it_is_is_looked_at_alone(name):
    room = ingest(SALE)
    sent = records(room, [GOOD] * (4 * FEWEST))
    sent[7] = sent[7]._replace(headers=((name, b"3/42"),))
    assert looked_at_alone(room, sent) == [*range(2 * FEWEST)]
    both(SALE, sent, [])


@pytest.mark.parametrize("how", ["json", "headers", "many", "cut", "longer", "twice", "empty", "huge"])
def test_one_that_came_otherwise_changes_nothing_for_the_others(how):
    sent = records(ingest(SALE), [GOOD] * FEWEST)
    odd = sent[7]
    assert odd.value is not None
    sent[7] = {
        "json": odd._replace(value=JSON % 7),
        "headers": odd._replace(headers=(("event_id", b"mine"),)),
        "many": odd._replace(headers=(("mine", b""),) * 129),
        "cut": odd._replace(value=odd.value[:-1]),
        "longer": odd._replace(value=odd.value + b"\0"),
        "twice": odd._replace(value=sent[3].value),
        "empty": odd._replace(value=None),
        "huge": odd._replace(value=odd.value + bytes(1 << 20)),
    }[how]  # fmt: skip
    found = both(SALE, sent, [])
    assert sum(each is not None and len(each) == 4 for each in found) == FEWEST - (how not in {"json", "headers"})
