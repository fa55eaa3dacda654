"""Given telemetry on the log, when the controller goes round, then it acts, tells why, and survives its own death."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import httpx
import orjson
import pytest
from tests.unit.services.controlled import CODEC, World

from guidevane.clock import SystemClock
from guidevane.control.audit import next_row, verify
from guidevane.control.observation import HOT
from guidevane.errors import Misconfigured, Retryable
from guidevane.log import Message, Record
from guidevane.services.controller.act import ServeScaler, Standing
from guidevane.services.controller.answering import answered
from guidevane.telemetry import names
from guidevane.telemetry.metrics import Metrics
from guidevane.topics import AUDIT, CONTROL, TELEMETRY


async def test_given_more_than_a_replica_bears_then_serve_is_asked_for_more_and_the_audit_says_why() -> None:
    world = World(deep=1)
    await world.controller()
    await world.scaled(10)
    assert world.serve.wanted == {"deep": 1}
    world.rate = 600
    scaled = await world.scaled(15)

    assert world.serve.wanted["deep"] > 1
    assert scaled[0].before == 1
    row = next(row for row in world.audit() if row["action"] == "scale")
    assert row["object"] == "p/deep"
    assert "events/s" in row["reason"]
    assert "1 of 1 ready" in row["reason"]
    detail = orjson.loads(row["detail"])
    assert detail["seen"]["members"][0]["replicas"] == 1
    assert detail["decision"]["ready_for_per_s"] > 100
    assert detail["decision"]["predicted_miss"] is not None
    assert {"what", "miss", "usd_per_hour", "why"} <= set(detail["decision"]["rejected"][0])


async def test_given_an_act_then_the_audit_says_later_whether_it_is_in_force() -> None:
    world = World(deep=1)
    await world.controller()
    world.rate = 600
    await world.scaled(60)

    effects = [orjson.loads(row["detail"]) for row in world.audit() if row["action"] == "effect"]
    assert {each["took"] for each in effects if each["name"] == "replicas"} == {True}
    assert {each["took"] for each in effects if each["name"] == "max_batch"} == {False}, "the rooms here do not listen"


async def test_given_a_slow_way_then_every_fetching_room_is_told_the_least_wait_and_epochs_grow() -> None:
    world = World()
    await world.controller()
    world.age_s = 0.16
    for _ in range(5):
        await world.second()

    waits = {each["room"]: each["settings"]["fetch_wait_s"] for each in world.control() if each["room"] in HOT}
    assert waits == dict.fromkeys(HOT, 0.030)
    assert [r.key for r in world.log.records(CONTROL)] == [f"p/{c['room']}".encode() for c in world.control()]
    for room in HOT:
        epochs = [each["epoch"] for each in world.control() if each["room"] == room]
        assert epochs == list(range(1, len(epochs) + 1))


async def test_given_fused_stages_then_only_the_first_is_told_how_long_to_wait() -> None:
    world = World()
    world.rooms = dict.fromkeys(HOT, Metrics("p", "fused", "0"))
    await world.controller()
    for _ in range(8):
        await world.second()

    assert {each["room"] for each in world.control() if "fetch_wait_s" in each["settings"]} == {"ingest"}
    assert {each["room"] for each in world.control() if "max_batch" in each["settings"]} == {"inference"}


async def test_given_a_controller_that_was_killed_then_the_next_goes_on_from_the_topics() -> None:
    world = World()
    await world.controller()
    world.age_s = 0.16
    for _ in range(3):
        await world.second()
    before = {each["room"]: each["epoch"] for each in world.control()}

    await world.controller()
    world.age_s = 0.01
    for _ in range(40):
        await world.second()

    assert verify(world.audit()) is None
    assert [row["sequence"] for row in world.audit()] == list(range(len(world.audit())))
    after = {each["room"]: each["epoch"] for each in world.control()}
    assert all(after[room] > before[room] for room in HOT)
    for room in HOT:
        epochs = [each["epoch"] for each in world.control() if each["room"] == room]
        assert epochs == sorted(set(epochs))
    assert world.live.control["ingest"]["settings"]["fetch_wait_s"] > 0.002


async def test_given_a_controller_that_was_killed_then_the_next_one_begins_with_the_rate_that_it_left() -> None:
    world = World(deep=1)
    await world.controller()
    world.rate = 600
    await world.scaled(30)
    many = world.serve.wanted["deep"]

    await world.controller()
    world.rate = 25
    scaled = await world.scaled(15)

    assert many > 1
    assert not [act for act in scaled if act.replicas < many]
    assert "plan" in {each["room"] for each in world.control()}


async def test_given_a_pause_then_it_holds_names_who_asked_and_goes_on_when_resumed() -> None:
    world = World()
    await world.controller()
    await world.told("controller", "ada", 1, paused=1.0)
    world.rate, world.age_s = 900, 0.5
    told = [await world.second() for _ in range(10)]

    assert {each.why for each in told} == {"paused: by ada: roll-out"}
    assert not [act for each in told for act in each.acts]

    await world.controller()
    assert (await world.second()).why == "paused: by ada: roll-out"

    await world.told("controller", "ada", 2, paused=0.0)
    assert await world.scaled(10)


async def test_given_a_room_that_falls_silent_then_it_holds_and_says_which_and_nothing_is_taken_for_zero() -> None:
    world = World(deep=3)
    await world.controller()
    world.rate = 500
    for _ in range(40):
        await world.second()
    before = dict(world.serve.wanted)
    world.silent = {"inference"}
    told = [await world.second() for _ in range(100)]

    assert told[-1].why == "no telemetry from inference"
    assert world.serve.wanted == before


async def test_given_a_person_who_sets_replicas_then_they_are_made_and_kept() -> None:
    world = World(deep=1)
    await world.controller()
    await world.second()
    await world.told("inference", "ada", 900, **{"replicas.deep": 3})
    await world.scaled(5)
    assert world.serve.wanted == {"deep": 3}

    world.rate = 900
    assert await world.scaled(20) == []


async def test_given_the_same_hold_again_and_again_then_the_audit_has_it_once_in_ten_seconds() -> None:
    world = World()
    await world.controller()
    world.silent = set(HOT)
    for _ in range(31):
        await world.second()

    holds = [row for row in world.audit() if row["action"] == "hold"]
    assert [row["reason"] for row in holds] == ["no telemetry from ingest, preprocess, inference, postprocess"] * 4


async def test_given_a_setting_that_a_person_made_then_it_stays_in_force() -> None:
    world = World()
    await world.controller()
    await world.told("ingest", "ada", 7, fetch_wait_s=0.1)
    world.age_s = 0.5
    for _ in range(5):
        await world.second()

    assert [each["actor"] for each in world.control() if each["room"] == "ingest"] == ["ada"]
    assert [each for each in world.control() if each["room"] == "preprocess"]


async def test_given_another_writer_of_the_audit_then_the_chain_stays_whole_and_no_row_of_ours_is_lost() -> None:
    world = World()
    await world.controller()
    await world.second()
    theirs = next_row(world.audit()[-1], at_us=1, actor="ada", action="pause", object="p", reason="r")
    raced = False

    def race(topic: str, partition: int, _) -> None:
        nonlocal raced
        if topic == AUDIT and not raced:
            raced = True
            row = CODEC.encode("audit", theirs)
            world.log.topic(AUDIT)[partition].append(_record(world, row))

    world.log.on_send = race
    world.silent = set(HOT)
    for _ in range(12):
        await world.second()

    assert raced
    assert verify(world.audit()) is None
    rows = world.audit()
    lost = [row for row, after in pairwise(rows) if after["sequence"] == row["sequence"]]
    assert len(lost) == 1
    assert rows[-1]["actor"] == "controller"


def _record(world: World, value: bytes):
    return Record(AUDIT, 0, len(world.log.topic(AUDIT)[0]), None, value)


async def test_given_serve_that_does_not_answer_then_the_failure_is_audited_and_the_room_goes_on() -> None:
    world = World(deep=1)
    await world.controller()
    for _ in range(5):
        await world.second()
    world.rate, world.serve.stuck = 600, True
    while not any(row["action"] == "failed" for row in world.audit()):
        await world.second()
    world.serve.away = True
    for _ in range(10):
        told = await world.second()

    assert [row["action"] for row in world.audit() if row["action"] in {"scale", "failed"}] == ["scale", "failed"]
    assert "replicas of deep are not known" in told.why

    world.serve.away = world.serve.stuck = False
    for _ in range(15):
        await world.second()
    assert world.serve.wanted["deep"] > 1


async def test_given_a_room_that_is_full_then_more_of_it_are_run_and_the_effect_is_looked_for() -> None:
    world = World()
    await world.controller()
    world.busy = {"preprocess": 0.95}
    told = [await world.second() for _ in range(90)]

    assert world.crew.wanted == {"ingest": 1, "preprocess": 2, "inference": 1, "postprocess": 1}
    assert world.live.control["preprocess"]["settings"]["consumers"] == 2
    row = next(row for row in world.audit() if row["action"] == "staff")
    assert (row["object"], row["reason"]) == (
        "p/preprocess",
        "1 → 2 consumers: as the control topic has it; 1 are heard",
    )
    (effect,) = (each for decision in told for each in decision.effects if each.name == "consumers")
    assert (effect.subject, effect.value, effect.took) == ("preprocess", 2.0, False), "one instance speaks here"


async def test_given_nobody_who_may_scale_then_the_failure_is_audited_with_the_way_out_and_the_rooms_go_on() -> None:
    world = World()
    await world.controller()
    world.busy, world.crew.refuses = {"ingest": 0.95}, "forbidden → allow the service account to patch"
    for _ in range(20):
        await world.second()

    failed = [row for row in world.audit() if row["action"] == "failed"]
    assert [(row["object"], row["reason"]) for row in failed] == [("p/ingest", world.crew.refuses)]
    assert world.crew.wanted["ingest"] == 1


async def test_given_more_than_a_replica_that_cannot_be_joined_bears_then_events_are_served_by_slack_until_it_can():
    world = World(deep=4)
    world.level = 0.0
    await world.controller()
    await world.scaled(15)
    world.rate = 2_500
    for _ in range(6):
        await world.second()

    row = next(row for row in world.audit() if row["object"] == "p/inference" and "level" in row["reason"])
    assert row["reason"].startswith("level 0 → 1: ")
    assert "ready of deep answer" in row["reason"]
    assert "forecast" in row["reason"]
    assert world.live.control["inference"]["settings"]["level"] == 1.0
    world.level, world.rate = 1.0, 100
    for _ in range(60):
        await world.second()
    assert world.live.control["inference"]["settings"]["level"] == 0.0


async def test_given_nonsense_on_the_topics_then_it_is_left_out() -> None:
    world = World()
    await world.log.append(CONTROL, 0, [Message(b"p/ingest", b"\x00junk"), Message(b"p/ingest", None)])
    await world.controller()
    await world.log.append(TELEMETRY, 0, [Message(None, b""), Message(None, b"\x00\x00\x00\x00\x07...")])

    assert await world.second()


async def test_given_a_running_room_when_stopped_then_it_ends_and_says_so() -> None:
    world, stop = World(), asyncio.Event()
    # The loop really waits here, so time must really pass.
    world.clock = world.log.clock = SystemClock()
    live = await world.controller()
    running = asyncio.create_task(live.run(stop, group="p.controller", instance="one", every_s=0.01))
    async with asyncio.timeout(5), world.log.arrived:
        await world.log.arrived.wait_for(lambda: len(world.audit()) >= 1)
    stop.set()
    await asyncio.wait_for(running, 5)

    assert live.ports.health.report()[1]["reasons"] == ["stopped"]


async def test_given_a_controller_that_knows_its_pipeline_then_it_answers_what_if_and_before_it_says_why_not() -> None:
    world = World(deep=1)
    live = await world.controller()
    early, _ = answered(live, "rate=x2")
    await world.scaled(30)

    status, body = answered(live, "rate=x8&slo=80ms&slo=150ms")
    assert (early, status) == (503, 200)
    found = orjson.loads(body)
    assert (found["pipeline"], found["asked"]["slo_ms"], found["asked"]["arrivals"]) == ("p", 150.0, "recorded")
    assert found["as_it_is"]["miss"] > 0.01
    assert found["then"]["settings"]["deep"]["replicas"] > 1
    assert answered(live, "drop=trees")[0] == 400
    assert b"slo" in answered(live, "shape=round")[1]


REPLICAS = [
    {"replica_id": "a", "state": "RUNNING", "start_time_s": 90.0},
    {"replica_id": "b", "state": "STARTING", "start_time_s": 100.5},
    {"replica_id": "c", "state": "STOPPING", "start_time_s": 10.0},
]
DEPLOYMENTS = {"deep": {"target_num_replicas": 3, "replicas": REPLICAS}, "wide": {"target_num_replicas": 1}}
APPLICATIONS = {"applications": {"p": {"deployments": DEPLOYMENTS}, "q": {}}}


def dashboard(handler, token_path=None) -> ServeScaler:
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://ray")
    return ServeScaler(client, "p", token_path=token_path)


async def test_given_rays_dashboard_then_it_is_asked_as_ray_2_60_wants_it_with_the_token(tmp_path) -> None:
    asked = []

    def ray(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.content, request.headers.get("authorization")))
        return httpx.Response(200, json=APPLICATIONS)

    token = tmp_path / "token"
    token.write_text("s3cret\n")
    scaler = dashboard(ray, str(token))
    await scaler.scale("deep", 4)

    assert await scaler.replicas() == {"deep": Standing(3, ("a",), {"b": 100.5}), "wide": Standing(1)}
    assert asked == [
        (
            "POST",
            "/api/v1/applications/p/deployments/deep/scale",
            b'{"target_num_replicas":4}',
            "Bearer s3cret",
        ),
        ("GET", "/api/serve/applications/", b"", "Bearer s3cret"),
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(412, Misconfigured), (401, Misconfigured), (403, Misconfigured), (404, Retryable), (503, Retryable)],
)
async def test_given_a_refusal_then_a_person_is_asked_and_given_a_failure_it_is_tried_again(status, kind) -> None:
    with pytest.raises(kind, match=str(status)):
        await dashboard(lambda _: httpx.Response(status, text="why")).scale("deep", 2)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"applications": {"p": {"deployments": {"deep": {}}}}}'])
async def test_given_an_answer_that_is_none_then_replicas_are_not_known(body) -> None:
    with pytest.raises(Retryable):
        await dashboard(lambda _: httpx.Response(200, content=body)).replicas()


async def test_given_no_dashboard_or_no_token_file_then_it_is_retryable(tmp_path) -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Retryable):
        await dashboard(gone).replicas()
    with pytest.raises(Retryable):
        await dashboard(lambda _: httpx.Response(200), str(tmp_path / "absent")).replicas()


async def test_given_a_controller_that_dies_then_the_next_one_goes_on_with_its_bill() -> None:
    world = World(deep=2)
    await world.controller()
    for _ in range(3):
        await world.second()
    await world.controller()
    await world.second()

    told = world.metrics.drain(world.clock.now_us())["gauges"]
    an_hour = {key: usd for key, usd in told.items() if key.startswith(names.COST_USD_PER_HOUR)}
    assert an_hour.pop(f"{names.COST_USD_PER_HOUR}|part=deep") == pytest.approx(1.0)
    assert an_hour == {f"{names.COST_USD_PER_HOUR}|part=room {name}": pytest.approx(0.04) for name in HOT}
    # The first second opened the account; the controller that came in the fourth charged those of its predecessor.
    spent = told[f"{names.COST_MONTH_USD}|of=spent"]
    assert spent == pytest.approx(1.16 * 3 / 3600)
    assert told[names.COST_USD_PER_THOUSAND_DECISIONS] > 0
    assert told[f"{names.COST_MONTH_USD}|of=p50"] > spent
    assert f"{names.COST_MONTH_USD}|of=p90" not in told, "nothing is known yet of how far one hour is from another"


async def test_given_a_bill_and_a_pause_that_nobody_can_read_then_the_controller_steers_all_the_same() -> None:
    world = World(deep=1)
    await world.told("bill", "someone", 1, spent_usd=1.0)
    await world.told("controller", "someone", 1, paused=float("nan"))
    await world.told("plan", "someone", (1 << 63) - 1, rate_per_s=5.0)
    await world.controller()
    decided = await world.second()

    assert "paused" not in decided.reason
    assert any(each["room"] == "bill" and "began_s" in each["settings"] for each in world.control())
