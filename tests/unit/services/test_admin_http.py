"""The admin room tells what is on the topics, and pauses the controller with an audit row first."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.control.audit import next_row, verify
from guidevane.control.bill import BILL
from guidevane.errors import Reject, Retryable
from guidevane.events import derived_id
from guidevane.log import Message, Partition, Record
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import PREFIX, dead_letter
from guidevane.services.admin.http import admin_app
from guidevane.services.admin.service import AdminRoom
from guidevane.services.admin.state import Subject
from guidevane.services.passing import EVENT_ID
from guidevane.slo import Latency
from guidevane.telemetry import names
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import ManualClock
from guidevane.topics import AUDIT, CONTROL, TELEMETRY, Topics

TOPICS = Topics("fraud")
NOW_US = 1_700_000_000_000_000
TOKEN = "0123456789abcdef"
CODEC = Codec(Catalogue())


class Site:
    """A pipeline's topics in memory, and the admin room that watches them."""

    def __init__(self, *, index_size: int = 1000, partitions: int = 1, on_send=None) -> None:
        self.codec = CODEC
        self.clock = ManualClock(now_s=NOW_US / 1e6)
        self.log = MemoryLog(partitions=partitions, clock=self.clock, on_send=on_send)
        self.subject = Subject("fraud", Latency(p=0.99, within_ms=200), {"deep": "models:/fraud-deep@champion"})
        self.index_size = index_size
        self.token: str | None = None

    async def put(self, topic: str, contract: str, body: dict, *, key: bytes = b"k", partition: int = 0) -> None:
        headers = ((EVENT_ID, body["event_id"].encode()),) if "event_id" in body else ()
        await self.log.append(topic, partition, [Message(key, self.codec.encode(contract, body), headers)])

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[httpx.AsyncClient]:
        """Return a client of a room that has read what is there."""
        producer = await self.log.producer(name="admin")
        clock, stop = ManualClock(now_s=NOW_US / 1e6), asyncio.Event()
        self.health = Health(clock)
        subjects, size = [self.subject], self.index_size
        room = AdminRoom(self.log, producer, self.codec, subjects, clock, health=self.health, index_size=size)
        following = asyncio.create_task(room.run(stop))
        app = admin_app(room, token=self.token)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            async with asyncio.timeout(10):
                while (await client.get("/readyz")).status_code != 200:
                    assert not following.done(), following
                    await asyncio.sleep(0.005)
            yield client
        assert self.health.report()[0]
        stop.set()
        await following


def decision(event_id: str, **changes: object) -> dict:
    return {
        "decision_id": derived_id("fraud", event_id),
        "event_id": event_id,
        "event_time_us": NOW_US - 5,
        "pipeline": "fraud",
        "score": 0.7,
        "probability": 0.6,
        "threshold": 0.5,
        "decision": "block",
        "positive": False,
        "outcome": "full",
        "models": {"deep": "3"},
        "protected": {},
        **changes,
    }


def alert(**changes: object) -> dict:
    return {
        "alert_id": "a1",
        "pipeline": "fraud",
        "monitor": "drift",
        "kind": "drift",
        "signal": "score",
        "message": "the score has moved",
        "event_id": "e1",
        "event_time_us": NOW_US,
        "evidence": {"from": 0.5, "to": math.nan},
        **changes,
    }


def problem(answer: httpx.Response, status: int, kind: str) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:guidevane:{kind}"
    return answer.json()


async def test_given_a_decision_then_it_is_found_by_its_id_and_by_its_events() -> None:
    site = Site()
    for n in range(20):
        await site.put(TOPICS.decisions, "decision", decision(f"e{n}"))
    async with site.open() as client:
        by_event = await client.get("/v1/pipelines/fraud/decisions/e7")
        by_id = await client.get(f"/v1/pipelines/fraud/decisions/{derived_id('fraud', 'e7')}")
    assert by_event.json() == by_id.json()
    assert by_id.json()["place"] == {"topic": TOPICS.decisions, "partition": 0, "offset": 7}
    assert by_id.json()["decision"] == decision("e7")


async def test_given_a_decision_written_twice_then_the_first_counts() -> None:
    site = Site()
    await site.put(TOPICS.decisions, "decision", decision("e1", decision="first"))
    await site.put(TOPICS.decisions, "decision", decision("e1", decision="second"))
    async with site.open() as client:
        found = await client.get("/v1/pipelines/fraud/decisions/e1")
    assert found.json()["decision"]["decision"] == "first"


async def test_given_more_decisions_than_the_index_holds_then_the_answer_says_how_far_back_it_reaches() -> None:
    site = Site(index_size=10)
    for n in range(30):
        await site.put(TOPICS.decisions, "decision", decision(f"e{n}"))
        site.clock.advance(1.0)
    async with site.open() as client:
        said = problem(await client.get("/v1/pipelines/fraud/decisions/e3"), 404, "unknown-decision")
        assert (await client.get("/v1/pipelines/fraud/decisions/e20")).status_code == 200
    assert said["indexed"] == 10
    assert said["reaches_back_to_us"] == NOW_US + 20_000_000


async def test_given_decisions_that_arrive_later_then_they_are_listed_newest_first() -> None:
    site = Site()
    async with site.open() as client:
        problem(await client.get("/v1/pipelines/fraud/decisions/e0"), 404, "unknown-decision")
        for n in range(5):
            await site.put(TOPICS.decisions, "decision", decision(f"e{n}", score=math.nan))
        async with asyncio.timeout(10):
            while len(found := (await client.get("/v1/pipelines/fraud/decisions?limit=3")).json()) < 3:
                await asyncio.sleep(0.005)
            while (await client.get("/v1/pipelines/fraud/decisions/e4")).status_code != 200:
                await asyncio.sleep(0.005)
            found = (await client.get("/v1/pipelines/fraud/decisions?limit=3")).json()
    assert [each["decision"]["event_id"] for each in found] == ["e4", "e3", "e2"]
    assert found[0]["decision"]["score"] is None


async def test_given_nobody_who_asks_then_no_decision_is_read_and_who_asks_again_reads_what_came_since() -> None:
    site = Site(index_size=40, partitions=3)
    read: list[tuple[int, int]] = []
    look = site.log.read

    async def noted(partition: Partition, start: int, stop: int | None = None) -> Sequence[Record]:
        found = await look(partition, start, stop)
        read.extend((record.partition, record.offset) for record in found if record.topic == TOPICS.decisions)
        return found

    site.log.read = noted  # type: ignore[method-assign]
    for n in range(90):
        await site.put(TOPICS.decisions, "decision", decision(f"e{n}"), partition=n % 3)
        site.clock.advance(0.001)
    async with site.open() as client:
        assert read == []
        assert (await client.get("/v1/pipelines/fraud/decisions/e89")).status_code == 200
        # An index of 40 holds 14 of each partition; and the one that was found is read whole.
        assert sorted(read) == sorted([(p, n) for p in range(3) for n in range(16, 30)] + [(2, 29)])
        read.clear()
        for n in range(90, 93):
            await site.put(TOPICS.decisions, "decision", decision(f"e{n}"), partition=n % 3)
            site.clock.advance(0.001)
        assert (await client.get("/v1/pipelines/fraud/decisions/e91")).status_code == 200
        assert sorted(read) == [(0, 30), (1, 30), (1, 30), (2, 30)]
        listed = (await client.get("/v1/pipelines/fraud/decisions?limit=5")).json()
    assert [each["decision"]["event_id"] for each in listed] == ["e92", "e91", "e90", "e89", "e88"]


async def test_given_members_that_are_silent_then_the_last_decision_says_which_versions_there_were() -> None:
    site = Site(partitions=3)
    for n in range(9):
        made = decision(f"e{n}", models={"deep": str(n)})
        await site.put(TOPICS.decisions, "decision", made, partition=n % 3)
        site.clock.advance(0.001)
    async with site.open() as client:
        state = (await client.get("/v1/pipelines/fraud")).json()
    assert state["members"][0]["versions"] == ["8"]


async def test_given_telemetry_of_two_instances_then_rates_add_up_and_percentiles_are_of_the_sum() -> None:
    site = Site()
    for instance, slow_s in (("a", 0.1), ("b", 0.4)):
        metrics = Metrics("fraud", "postprocess", instance)
        metrics.begin(NOW_US - 2_000_000)
        metrics.count(names.EVENTS_TOTAL, 200, stage="postprocess", result="out")
        metrics.count(names.DECISIONS_TOTAL, 200, outcome="full")
        metrics.count(names.MEMBER_ROWS_TOTAL, 50, member="deep", version="4")
        metrics.gauge(names.REPLICAS, 2, member="deep")
        metrics.observe(names.AGE_SECONDS, np.full(100, slow_s), stage="postprocess")
        metrics.observe(names.STAGE_DURATION_SECONDS, np.full(100, 0.01), stage="postprocess")
        await site.put(TELEMETRY, "telemetry", dict(metrics.drain(NOW_US - 1_000_000)))
    async with site.open() as client:
        state = (await client.get("/v1/pipelines/fraud")).json()
        (brief,) = (await client.get("/v1/pipelines")).json()
        page = await client.get("/")
    assert state["decisions_per_s"] == {"full": pytest.approx(400)}
    assert state["stages"][0]["per_s"] == {"out": pytest.approx(400)}
    assert state["end_to_end"]["count"] == 200
    assert state["end_to_end"]["late_share"] == pytest.approx(0.5)
    assert 90 < state["end_to_end"]["p50_ms"] <= 134
    assert state["members"][0]["versions"] == ["4"]
    assert state["members"][0]["replicas"] == 4
    assert state["slo"] == {"p": 0.99, "within_ms": 200, "budget": pytest.approx(0.01)}
    assert [(each["instance"], each["heard_s"], each["silent"]) for each in state["rooms"]] == [
        ("a", 1.0, False),
        ("b", 1.0, False),
    ]
    assert brief["rooms"] == 2
    assert "fraud" in page.text
    assert "400" in page.text


async def test_given_what_the_controller_bills_then_the_pipeline_has_a_cost_and_the_bill_is_no_setting() -> None:
    site = Site()
    kept = {"pipeline": "fraud", "room": BILL, "at_us": 1, "epoch": 1, "settings": {"spent_usd": 3.0}}
    await site.put(CONTROL, "control", {**kept, "actor": "controller", "reason": ""})
    # One leads, and the other led before: what it said last is less, and is not added.
    for instance, spent in (("a", 3.5), ("b", 3.0)):
        metrics = Metrics("fraud", "controller", instance)
        metrics.begin(NOW_US - 2_000_000)
        metrics.gauge(names.COST_USD_PER_HOUR, 1.5, part="deep")
        metrics.gauge(names.COST_USD_PER_THOUSAND_DECISIONS, 0.02)
        for of, usd in (("spent", spent), ("p50", 90.0)):
            metrics.gauge(names.COST_MONTH_USD, usd, of=of)
        await site.put(TELEMETRY, "telemetry", dict(metrics.drain(NOW_US - 1_000_000)))
    async with site.open() as client:
        state = (await client.get("/v1/pipelines/fraud")).json()
    assert state["cost"] == {
        "usd_per_hour": {"deep": 1.5},
        "usd_per_1000_decisions": 0.02,
        "month_usd": {"spent": 3.5, "p50": 90.0},
    }
    assert state["control"] == []


async def test_given_old_telemetry_then_there_are_no_rates_and_the_room_is_silent() -> None:
    site = Site()
    metrics = Metrics("fraud", "ingest", "a")
    metrics.begin(NOW_US - 62_000_000)
    metrics.count(names.EVENTS_TOTAL, 10, stage="ingest", result="out")
    await site.put(TELEMETRY, "telemetry", dict(metrics.drain(NOW_US - 60_000_000)))
    async with site.open() as client:
        state = (await client.get("/v1/pipelines/fraud")).json()
    assert state["stages"] == []
    assert state["end_to_end"] is None
    assert state["cost"] is None
    assert state["rooms"] == [{"room": "ingest", "instance": "a", "heard_s": 60.0, "silent": True}]


async def test_given_alerts_then_they_are_filtered_by_kind_and_numbers_that_are_none_are_null() -> None:
    site = Site()
    await site.put(TOPICS.alerts, "alert", alert())
    await site.put(TOPICS.alerts, "alert", alert(alert_id="a2", kind="fairness", message="<script>alert(1)</script>"))
    async with site.open() as client:
        both = (await client.get("/v1/pipelines/fraud/alerts")).json()
        one = (await client.get("/v1/pipelines/fraud/alerts?kind=fairness")).json()
        page = (await client.get("/")).text
    assert [each["alert_id"] for each in both] == ["a2", "a1"]
    assert [each["alert_id"] for each in one] == ["a2"]
    assert both[1]["evidence"] == {"from": 0.5, "to": None}
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


async def test_given_dead_letters_then_each_has_its_reason_and_the_beginning_of_its_bytes() -> None:
    site = Site()
    for n, cause in enumerate(["truncated", "not_finite"]):
        headers = (("event_id", b"e1"), ("x", b"\xff"), ("null", None), (f"{PREFIX}null", None))
        record = Record(TOPICS.events, 3, 40 + n, b"c1", b"\x00" * 5000, headers)
        letter = dead_letter(record, Reject(cause, "why"), stage="ingest", group="fraud.ingest", now_us=NOW_US)
        await site.log.append(TOPICS.dlq, 0, [letter])
    await site.log.append(TOPICS.dlq, 0, [Message(None, None)])
    async with site.open() as client:
        every = (await client.get("/v1/pipelines/fraud/dead-letters")).json()
        (one,) = (await client.get("/v1/pipelines/fraud/dead-letters?cause=truncated&stage=ingest")).json()
        none = (await client.get("/v1/pipelines/fraud/dead-letters?stage=inference")).json()
    assert len(every) == 3
    assert none == []
    assert one["source"] == {"topic": TOPICS.events, "partition": 3, "offset": 40}
    assert (one["stage"], one["cause"], one["message"], one["event_id"]) == ("ingest", "truncated", "why", "e1")
    assert one["value_bytes"] == 5000
    assert base64.b64decode(one["value_base64"]) == b"\x00" * 1024
    assert one["headers"] == {"event_id": "e1", "x": "\ufffd", "null": None}


async def test_given_transactions_and_no_later_letter_then_the_room_is_ready_while_decisions_flow() -> None:
    site = Site()
    letters = await site.log.transactions("fraud-0", name="fraud")
    await letters.begin()
    record = Record(TOPICS.events, 0, 7, b"k", b"{")
    dead = dead_letter(record, Reject("malformed", "why"), stage="ingest", group="fraud.ingest", now_us=NOW_US)
    await letters.send(TOPICS.dlq, 0, [dead])
    await letters.commit("fraud", {})

    async def flow() -> None:
        for number in itertools.count():
            await site.put(TOPICS.decisions, "decision", decision(f"e{number}"))
            await asyncio.sleep(0)

    flowing = asyncio.create_task(flow())
    async with site.open() as client:
        assert len((await client.get("/v1/pipelines/fraud/dead-letters")).json()) == 1
    flowing.cancel()


async def test_given_records_that_nobody_can_read_then_they_are_counted_and_the_room_goes_on() -> None:
    site = Site()
    for topic in (TOPICS.decisions, TOPICS.alerts, TELEMETRY, CONTROL, AUDIT):
        await site.log.append(topic, 0, [Message(b"k", b"\x00\x01rubbish")])
    await site.put(TOPICS.decisions, "decision", decision("e1"))
    async with site.open() as client:
        found = await client.get("/v1/pipelines/fraud/decisions/e1")
        health = (await client.get("/healthz")).json()
    assert health["ready"] is True
    assert sum(health["undecodable"].values()) == 5
    assert found.status_code == 200


async def test_given_a_pause_then_control_says_so_with_a_larger_epoch_and_one_audit_row_is_written() -> None:
    site = Site()
    await site.put(
        CONTROL,
        "control",
        {
            "pipeline": "fraud",
            "room": "controller",
            "at_us": 1,
            "epoch": 41,
            "settings": {},
            "actor": "x",
            "reason": "",
        },
    )
    first = next_row(None, at_us=1, actor="controller", action="set", object="fraud/inference", reason="rate rose")
    await site.put(AUDIT, "audit", dict(first))
    async with site.open() as client:
        paused = await client.post("/v1/controller/pause", json={"reason": "roll-out", "actor": "ada"})
        state = (await client.get("/v1/controller")).json()
        resumed = await client.post(
            "/v1/controller/resume", json={"reason": "done", "actor": "ada", "pipeline": "fraud"}
        )
        log = (await client.get("/v1/audit")).json()

    assert paused.status_code == resumed.status_code == 200
    assert (state["pipelines"][0]["paused"], state["pipelines"][0]["epoch"]) == (True, 42)
    assert (resumed.json()[0]["paused"], resumed.json()[0]["epoch"]) == (False, 43)
    written = [site.codec.decode("control", each.value) for each in site.log.records(CONTROL)]
    assert [(each["epoch"], each["settings"]) for each in written[1:]] == [(42, {"paused": 1.0}), (43, {"paused": 0.0})]
    assert [each.key for each in site.log.records(CONTROL)[1:]] == [b"fraud/controller"] * 2
    rows = [site.codec.decode("audit", each.value) for each in site.log.records(AUDIT)]
    assert verify(rows) is None
    assert [each["action"] for each in rows] == ["set", "pause", "resume"]
    assert log["whole"] is True
    assert [each["action"] for each in log["rows"]] == ["resume", "pause", "set"]


async def test_given_another_writer_behind_the_same_row_then_the_pause_is_audited_again() -> None:
    first = next_row(None, at_us=1, actor="controller", action="set", object="o", reason="r")
    rival = next_row(first, at_us=2, actor="controller", action="hold", object="o", reason="within patience")
    sends: list[int] = []

    def let_the_rival_go_first(topic: str, partition: int, messages) -> None:
        if topic == AUDIT and not sends:
            sends.append(1)
            records = site.log.topic(AUDIT)[0]
            records.append(Record(AUDIT, 0, len(records), b"k", CODEC.encode("audit", dict(rival))))

    site = Site()
    await site.put(AUDIT, "audit", dict(first))
    site.log.on_send = let_the_rival_go_first
    async with site.open() as client:
        answer = await client.post("/v1/controller/pause", json={"reason": "roll-out", "actor": "ada"})
        rows = (await client.get("/v1/audit")).json()
    assert answer.status_code == 200
    assert [each["action"] for each in rows["rows"]] == ["pause", "hold", "set"]
    assert rows["whole"] is True


async def test_given_a_log_that_does_not_take_the_audit_row_then_nothing_is_paused() -> None:
    def refuse(topic: str, partition: int, messages) -> None:
        raise Retryable("no answer")

    site = Site(on_send=refuse)
    async with site.open() as client:
        answer = await client.post("/v1/controller/pause", json={"reason": "roll-out", "actor": "ada"})
        problem(answer, 503, "log-unavailable")
    assert answer.headers["retry-after"] == "1"
    assert site.log.records(CONTROL) == []


async def test_given_a_row_that_was_changed_then_the_audit_log_says_where() -> None:
    site = Site()
    row = next_row(None, at_us=1, actor="ada", action="pause", object="o", reason="r")
    await site.put(AUDIT, "audit", {**row, "actor": "eve"})
    async with site.open() as client:
        log = (await client.get("/v1/audit")).json()
    assert log["whole"] is False
    assert log["broken_at"] == {"topic": AUDIT, "partition": 0, "offset": 0}


async def test_given_names_that_are_not_known_then_problems_name_the_known() -> None:
    async with Site().open() as client:
        for path in ("", "/decisions", "/decisions/x", "/alerts", "/dead-letters"):
            assert problem(await client.get(f"/v1/pipelines/froud{path}"), 404, "unknown-pipeline")["known"] == [
                "fraud"
            ]
        assert "decision" in problem(await client.get("/v1/schemas/decisoin"), 404, "unknown-schema")["known"]
        problem(await client.get("/v1/nothing"), 404, "not-found")
        problem(await client.put("/v1/audit"), 405, "method-not-allowed")
        problem(await client.get("/v1/audit?limit=0"), 422, "invalid-request")
        unknown = {"reason": "r", "actor": "a", "pipeline": "froud"}
        problem(await client.post("/v1/controller/pause", json=unknown), 404, "unknown-pipeline")


async def test_given_a_contract_then_its_versions_and_their_avro_are_told() -> None:
    async with Site().open() as client:
        listed = {each["name"] for each in (await client.get("/v1/schemas")).json()}
        one = (await client.get("/v1/schemas/decision")).json()
    assert {"decision", "alert", "audit"} <= listed
    assert one["versions"][0]["avro"]["fields"][0]["name"] == "decision_id"
    assert orjson.dumps(one)


async def test_given_a_token_then_every_route_but_the_probes_wants_it() -> None:
    site = Site()
    site.token = TOKEN
    async with site.open() as client:
        document = (await client.get("/openapi.json", headers={"authorization": f"Bearer {TOKEN}"})).json()
        for path, operations in document["paths"].items():
            for method in operations:
                answer = await client.request(method.upper(), path.replace("{", "").replace("}", ""))
                assert (answer.status_code == 401) is (path not in {"/livez", "/readyz"}), (method, path)
        problem(await client.get("/openapi.json"), 401, "unauthorized")
        hostile = ["Bearer", "Bearer ", f"Bearer {TOKEN}x", f"bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Basic é", TOKEN]
        for authorization in hostile:
            answer = await client.get("/v1/audit", headers={"authorization": authorization.encode("latin-1")})
            problem(answer, 401, "unauthorized")
        browser = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
        assert (await client.get("/", headers={"authorization": f"Basic {browser}"})).status_code == 200


async def test_given_no_token_then_a_name_that_is_not_this_machine_is_turned_away() -> None:
    async with Site().open() as client:
        problem(await client.get("/v1/audit", headers={"host": "evil.example"}), 421, "misdirected-request")
        assert (await client.get("/v1/audit", headers={"host": "localhost:1234"})).status_code == 200


async def test_openapi_covers_every_route_with_a_summary_a_description_and_problems() -> None:
    async with Site().open() as client:
        document = (await client.get("/openapi.json")).json()
    app = client._transport.app
    routes = {(path, method.lower()) for path, method in _routes(app)}
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert routes == described
    assert len(routes) == 16
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]


def _routes(app) -> list[tuple[str, str]]:
    return [
        (route.path, method)
        for route in app.routes
        if route.path != "/openapi.json"
        for method in route.methods - {"HEAD"}
    ]


@pytest.fixture
async def stranger() -> AsyncIterator[httpx.AsyncClient]:
    async with Site().open() as client:
        yield client


@settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    bodies=st.lists(
        st.binary(max_size=60)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["reason", "actor", "pipeline", "x"]), inner, max_size=4)
            ),
            max_leaves=8,
        ).map(lambda value: orjson.dumps(value) if not _huge(value) else b"[" * 5000),
        min_size=1,
        max_size=5,
    ),
    segment=st.text(min_size=1, max_size=20).filter(lambda text: text not in {".", ".."}),
    limit=st.text(max_size=8),
)
async def test_given_any_request_then_it_is_never_our_fault(
    stranger: httpx.AsyncClient, bodies: list[bytes], segment: str, limit: str
) -> None:
    for body in bodies:
        for action in ("pause", "resume"):
            headers = {"content-type": "application/json"}
            answer = await stranger.post(f"/v1/controller/{action}", content=body, headers=headers)
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
    for path in ("pipelines/fraud/decisions", "schemas", "pipelines"):
        answer = await stranger.get(f"/v1/{path}/{quote(segment, safe='')}")
        assert answer.status_code < 500, answer.text
    assert (await stranger.get("/v1/audit", params={"limit": limit})).status_code < 500


def _huge(value: object) -> bool:
    try:
        orjson.dumps(value)
    except (TypeError, ValueError):
        return True
    return False


async def test_given_a_body_too_large_then_it_is_refused() -> None:
    async with Site().open() as client:
        answer = await client.post(
            "/v1/controller/pause", content=b" " * 70_000, headers={"content-type": "application/json"}
        )
        problem(answer, 413, "body-too-large")
