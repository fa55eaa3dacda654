"""The HTTP door takes what keeps the contract, tells at once what does not, and answers after Kafka has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx
import orjson
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.contract import Contract
from guidevane.errors import Retryable, TooLarge
from guidevane.event import Event
from guidevane.log import Message, Record
from guidevane.log.memory import MemoryLog
from guidevane.log.renewed import Renewed
from guidevane.services.ingest.http import MAX_BODY_BYTES, MAX_REQUESTS, Entry, door

PAYMENT = {
    "type": "record",
    "name": "shop.payment",
    "fields": [
        {"name": "card", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "payment_id", "type": ["null", "string", "long"], "default": None},
    ],
}
URL = "/v1/pipelines/fraud/events"
TOKEN = "0123456789abcdef"


class Shop:
    """The door of one pipeline, before a log in memory."""

    def __init__(self, *, on_send=None, token: str | None = None) -> None:
        self.log = MemoryLog(partitions=4, on_send=on_send)
        self.codec = Codec(Catalogue())
        event = Event("shop.payment.v1", schema=PAYMENT, key="card", id="payment_id", ranges={"amount": (0, 1e6)})
        self.contract = Contract(event, self.codec)
        self.token = token
        self.app: FastAPI | None = None

    async def post(self, body, url: str = URL, **headers: str) -> httpx.Response:
        if self.app is None:
            producer = await Renewed.open(self.log, name="door")
            entries = {"fraud": Entry("fraud.events", 4, self.contract)}
            self.app = door(entries, producer=producer, clock=SystemClock(), token=self.token)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(url, content=content, headers={"content-type": "application/json"} | named)

    def written(self) -> list[Record]:
        return self.log.records("fraud.events")


def payment(card: str = "c1", amount: float = 5.0, **more: object) -> dict[str, object]:
    return {"card": card, "amount": amount, **more}


def problem(answer: httpx.Response, status: int, kind: str) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["type"] == f"urn:guidevane:{kind}"
    assert said["status"] == status
    return said


async def test_given_one_event_then_it_is_on_the_topic_byte_for_byte_under_its_key_and_id() -> None:
    shop = Shop()
    body = b'{ "card":"c1", "amount": 5, "payment_id":"p-1" }'

    answer = await shop.post(body)

    assert answer.status_code == 202
    (record,) = shop.written()
    assert (record.key, record.value, record.header("event_id")) == (b"c1", body, b"p-1")
    assert answer.json() == {
        "pipeline": "fraud",
        "accepted": 1,
        "event_ids": ["p-1"],
        "partitions": [record.partition],
        "rejected": [],
    }
    assert shop.contract.read(record)["amount"] == 5.0


async def test_given_an_array_then_events_of_one_key_keep_their_order() -> None:
    shop = Shop()
    events = [payment(card=f"c{n % 3}", amount=n) for n in range(60)]

    answer = await shop.post(events)

    assert answer.json()["accepted"] == 60
    for card in ("c0", "c1", "c2"):
        amounts = [shop.contract.read(each)["amount"] for each in shop.written() if each.key == card.encode()]
        assert amounts == sorted(amounts)
        assert len(amounts) == 20


async def test_given_lines_then_each_is_one_event_and_blank_lines_are_none() -> None:
    shop = Shop()
    lines = b"\n\n".join(orjson.dumps(payment(amount=n)) for n in range(3)) + b"\r\n"
    assert (await shop.post(lines, content_type="application/x-ndjson; charset=utf-8")).json()["accepted"] == 3


@pytest.mark.parametrize("media", ["application/octet-stream", "avro/binary"])
async def test_given_framed_avro_then_it_passes_untouched(media: str) -> None:
    shop = Shop()
    value = shop.contract.encode({"card": "c9", "amount": 1.5, "payment_id": None})

    answer = await shop.post(value, content_type=media, X_Event_Id="e-9")

    assert answer.json()["event_ids"] == ["e-9"]
    assert [(each.key, each.value) for each in shop.written()] == [(b"c9", value)]


async def test_given_no_id_then_one_is_drawn_and_told() -> None:
    shop = Shop()
    answer = await shop.post([payment(), payment()])
    ids = answer.json()["event_ids"]
    assert len(set(ids)) == 2
    assert sorted(ids) == sorted((each.header("event_id") or b"").decode() for each in shop.written())


async def test_given_the_same_idempotency_key_then_a_batch_gets_the_same_ids_again() -> None:
    shop = Shop()
    batch = [payment(), payment(payment_id="mine"), payment()]
    first = await shop.post(batch, Idempotency_Key="k1")
    again = await shop.post(batch, Idempotency_Key="k1")
    assert first.json()["event_ids"] == again.json()["event_ids"] == ["k1/0", "mine", "k1/2"]


async def test_given_an_event_with_an_id_of_its_own_then_headers_do_not_rename_it() -> None:
    answer = await Shop().post(payment(payment_id="mine"), X_Event_Id="other", Idempotency_Key="k1")
    assert answer.json()["event_ids"] == ["mine"]


@pytest.mark.parametrize(("own", "named"), [(0, "0"), (7, "7"), ("", "other")])
async def test_given_an_id_that_is_a_number_then_it_counts_as_over_kafka_zero_too(own, named: str) -> None:
    answer = await Shop().post(payment(payment_id=own), X_Event_Id="other")
    assert answer.json()["event_ids"] == [named]


async def test_given_one_id_for_many_events_then_the_request_is_refused() -> None:
    problem(await Shop().post([payment(), payment()], X_Event_Id="e1"), 400, "ambiguous-id")


@pytest.mark.parametrize("identity", ["a b", "x" * 201, ""])
async def test_given_an_id_that_is_none_then_the_request_is_refused(identity: str) -> None:
    problem(await Shop().post(payment(), X_Event_Id=identity), 422, "invalid-request")


async def test_given_bad_events_in_a_batch_then_each_is_named_and_nothing_is_sent() -> None:
    shop = Shop()
    said = problem(await shop.post([payment(), payment(amount=-1), {"card": "c1"}, 7]), 422, "contract-violation")
    assert [each["index"] for each in said["rejected"]] == [1, 2, 3]
    assert [each["cause"] for each in said["rejected"]][:2] == ["out_of_range", "missing_field"]
    assert "amount" in said["rejected"][0]["message"]
    assert shop.written() == []


async def test_given_partial_then_the_good_are_sent_and_the_bad_listed() -> None:
    shop = Shop()
    answer = await shop.post([payment(), payment(amount=-1), payment()], url=f"{URL}?partial=true")
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    assert [each["index"] for each in answer.json()["rejected"]] == [1]
    assert len(shop.written()) == 2


async def test_given_partial_and_nothing_good_then_the_request_is_refused() -> None:
    problem(await Shop().post([payment(amount=-1)], url=f"{URL}?partial=true"), 422, "contract-violation")


async def test_given_a_pipeline_that_is_not_here_then_the_known_ones_are_named() -> None:
    said = problem(await Shop().post(payment(), url="/v1/pipelines/froud/events"), 404, "unknown-pipeline")
    assert said["known"] == ["fraud"]
    assert "write 'fraud'" in said["detail"]


async def test_given_another_media_type_then_those_that_are_read_are_named() -> None:
    said = problem(await Shop().post(b"<a/>", content_type="text/xml"), 415, "unsupported-media-type")
    assert "application/x-ndjson" in said["known"]


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b"NaN", b"\xef\xbb\xbf{}"])
async def test_given_what_is_not_json_then_that_is_said(body: bytes) -> None:
    problem(await Shop().post(body), 400, "malformed-json")


async def test_given_nothing_then_that_is_said() -> None:
    problem(await Shop().post(b"[]"), 422, "no-events")
    problem(await Shop().post(b"", content_type="application/octet-stream"), 422, "no-events")


async def test_given_too_large_a_body_then_it_is_refused_whether_or_not_its_length_is_told() -> None:
    shop = Shop()
    body = b" " * (MAX_BODY_BYTES + 1)
    problem(await shop.post(body), 413, "body-too-large")

    async def untold():
        for _ in range(3):
            yield b" " * (MAX_BODY_BYTES // 2)

    app = door(
        {"fraud": Entry("fraud.events", 4, shop.contract)},
        producer=await shop.log.producer(name="d"),
        clock=SystemClock(),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080") as client:
        answer = await client.post(URL, content=untold(), headers={"content-type": "application/json"})
    problem(answer, 413, "body-too-large")


async def test_given_clients_that_never_end_their_bodies_then_the_others_are_served_and_they_are_told() -> None:
    shop = Shop()
    producer = await shop.log.producer(name="door")
    entries = {"fraud": Entry("fraud.events", 4, shop.contract)}
    shop.app = door(entries, producer=producer, clock=SystemClock(), body_timeout_s=0.5)
    transport = httpx.ASGITransport(shop.app)

    async def half() -> AsyncIterator[bytes]:
        yield b'{"card": '
        await asyncio.sleep(5)

    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        headers = {"content-type": "application/json"}
        slow = [asyncio.create_task(client.post(URL, content=half(), headers=headers)) for _ in range(MAX_REQUESTS)]
        await asyncio.sleep(0.1)
        assert (await shop.post(payment())).status_code == 202
        for answer in await asyncio.gather(*slow):
            problem(answer, 408, "body-too-slow")
    assert len(shop.written()) == 1


async def test_given_an_object_in_an_array_with_a_key_twice_then_nothing_is_sent() -> None:
    shop = Shop()
    problem(await shop.post(b'[{"card": "c1", "amount": 5.0, "amount": 7.0}]'), 422, "repeated-key")
    assert not shop.written()


async def test_given_an_id_of_its_own_that_is_too_long_then_it_is_told_at_once() -> None:
    shop = Shop()
    said = problem(await shop.post(payment(payment_id="x" * 257)), 422, "contract-violation")
    assert said["rejected"][0]["cause"] == "bad_event_id"
    assert not shop.written()


async def test_given_an_event_that_the_log_takes_for_too_large_then_nobody_is_asked_to_send_it_again() -> None:
    def on_send(topic: str, partition: int, messages: Sequence[Message]) -> None:
        del partition
        raise TooLarge(topic, messages[0].size_bytes)

    shop = Shop(on_send=on_send)
    problem(await shop.post(payment()), 413, "event-too-large")
    shop.log.on_send = None
    assert (await shop.post(payment())).status_code == 202


async def test_given_too_many_events_then_the_request_is_refused() -> None:
    problem(await Shop().post(b"{}\n" * 5_001, content_type="application/x-ndjson"), 413, "too-many-events")


async def test_given_a_log_that_does_not_acknowledge_then_the_producer_is_told_what_to_send_again() -> None:
    calls: list[int] = []

    def fail_the_second(topic: str, partition: int, messages: Sequence[Message]) -> None:
        calls.append(partition)
        if len(calls) == 2:
            raise Retryable("no answer")

    shop = Shop(on_send=fail_the_second)
    answer = await shop.post([payment("a"), payment("a"), payment("d")], Idempotency_Key="k")

    said = problem(answer, 503, "not-acknowledged")
    assert answer.headers["retry-after"] == "1"
    assert said["event_ids"] == ["k/0", "k/1", "k/2"]
    assert said["acknowledged"] == [0, 1]
    assert len(shop.written()) == 2


async def test_given_a_token_then_only_who_has_it_may_send() -> None:
    shop = Shop(token=TOKEN)
    problem(await shop.post(payment()), 401, "unauthorized")
    problem(await shop.post(payment(), authorization="Bearer 0123456789abcdeX"), 401, "unauthorized")
    assert (await shop.post(payment(), authorization=f"Bearer {TOKEN}")).status_code == 202


async def test_given_no_token_then_a_name_that_is_not_this_machine_is_turned_away() -> None:
    problem(await Shop().post(payment(), host="evil.example"), 421, "misdirected-request")


async def test_given_a_trace_then_it_goes_on_only_where_it_is_whole() -> None:
    shop = Shop()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await shop.post(payment(), traceparent=trace)
    await shop.post(payment(), traceparent="00-zz")
    assert [each.header("traceparent") for each in shop.written()] == [trace.encode(), None]


async def test_openapi_describes_the_route_its_bodies_and_its_problems() -> None:
    app = door({}, producer=await MemoryLog().producer(name="door"), clock=SystemClock())
    document = app.openapi()
    operation = document["paths"]["/v1/pipelines/{pipeline}/events"]["post"]
    assert set(operation["requestBody"]["content"]) >= {"application/json", "application/x-ndjson", "avro/binary"}
    assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "Problem" in document["components"]["schemas"]
    assert "clients" in operation["description"] or "client" in operation["description"]


STRANGERS = Shop()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["card", "amount", "payment_id", "x", ""]), inner, max_size=4)
            ),
            max_leaves=12,
        ).map(orjson.dumps),
        st.text(max_size=50).map(lambda text: b'{"card":"\\ud800' + text.encode("utf-8", "ignore") + b'","amount":1}'),
    ),
    media=st.sampled_from(["application/json", "application/x-ndjson", "application/octet-stream", "", "x/y; q"]),
    identity=st.sampled_from([None, "e1", "ü", " "]),
)
async def test_given_any_body_then_the_answer_is_a_receipt_or_a_problem_and_never_our_fault(
    body: bytes, media: str, identity: str | None
) -> None:
    headers = {"content_type": media} | ({"X_Event_Id": identity.encode("latin-1")} if identity else {})
    before = len(STRANGERS.written())
    answer = await STRANGERS.post(body, **headers)
    assert answer.status_code < 500, answer.text
    if answer.status_code == 202:
        assert len(STRANGERS.written()) == before + answer.json()["accepted"]
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(STRANGERS.written()) == before
