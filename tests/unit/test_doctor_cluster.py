"""What the doctor says of a cluster, with each answer that one may give."""

from __future__ import annotations

import pytest
from tests.unit.test_doctor import look

from guidevane.doctor import CHECKS, cluster
from guidevane.log.kafka.replicas import NOBODY, Replicas
from guidevane.log.kafka.survey import Survey, TopicState
from guidevane.topics import Topics


def lies(partitions: int, brokers: tuple[int, ...], in_sync: tuple[int, ...] | None = None) -> dict[int, Replicas]:
    leads = next((each for each in brokers if in_sync is None or each in in_sync), NOBODY)
    return {n: Replicas(leads, brokers, frozenset(brokers if in_sync is None else in_sync)) for n in range(partitions)}


def survey(name: str = "p", *, brokers: int = 1, partitions: int = 12, least: int = 1) -> dict:
    ids = tuple(range(1, brokers + 1))
    topics = {
        spec.name: TopicState(lies(spec.partitions, ids), {"min.insync.replicas": f"{least}", **spec.settings})
        for spec in Topics(name).specs(partitions)
    }
    return {"brokers": frozenset(ids), "release": "4.1", "topics": topics}


def change(told: dict, topic: str, **changed: object) -> None:
    state = told["topics"][topic]
    settings = {**state.settings, **changed.pop("settings", {})}
    told["topics"][topic] = TopicState(changed.pop("lies", state.lies), settings)
    assert not changed, changed


CASES = {
    "whole": (lambda _: None, "ok", "p: 12 partitions each"),
    "missing": (lambda told: told["topics"].pop("p.features"), "fail", "p.features is missing"),
    "no journal": (lambda told: told["topics"].pop("p.redrives"), "ok", "12 partitions"),
    "unequal": (
        lambda told: change(told, "p.features", lies=lies(6, (1,))), "fail", "p.features has 6 partitions, not 12",
    ),
    "stamps": (
        lambda told: change(told, "p.decisions", settings={"message.timestamp.type": "CreateTime"}),
        "fail", "p.decisions has message.timestamp.type=CreateTime, not LogAppendTime",
    ),
    "control": (
        lambda told: change(told, "guidevane.control", settings={"cleanup.policy": "delete"}),
        "fail", "guidevane.control has cleanup.policy=delete, not compact",
    ),
    "compacted": (
        lambda told: change(told, "p.events", settings={"cleanup.policy": "compact"}), "fail", "p.events is compacted",
    ),
    "brief": (
        lambda told: change(told, "p.events", settings={"retention.ms": "60000"}),
        "warn", "p.events has retention.ms=60000",
    ),
    "for ever": (lambda told: change(told, "p.events", settings={"retention.ms": "-1"}), "ok", "12 partitions"),
    "audit": (
        lambda told: change(told, "guidevane.audit", settings={"retention.ms": "86400000"}),
        "warn", "guidevane.audit has retention.ms=86400000",
    ),
    "empty": (lambda told: told["topics"].clear(), "skip", "no pipeline has topics here yet"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_topics_are_told_from_what_promises_need(case, monkeypatch):
    breaks, status, says = CASES[case]
    told = survey()
    breaks(told)

    async def surveyed(_):
        return Survey(**told)

    monkeypatch.setattr(cluster, "survey", surveyed)
    found = look(cluster.topics, kafka="k:9092")
    assert (found.status, says in found.says) == (status, True), found


def away(told: dict, *numbers: int, topics: tuple[str, ...] = ()) -> None:
    there = told["brokers"] - set(numbers)
    told["brokers"] = there
    for name in topics or tuple(told["topics"]):
        state = told["topics"][name]
        brokers = state.lies[0].brokers
        change(told, name, lies=lies(state.partitions, brokers, tuple(each for each in brokers if each in there)))


LIES = {
    "all there": (lambda _: None, "ok", "3 of everything on 3 brokers, all in sync", ""),
    "one away": (
        lambda told: away(told, 2), "warn", "replicas are away or behind: 12 of p.events", "start broker 2 again",
    ),
    "two away": (
        lambda told: away(told, 1, 2), "fail", "fewer replicas in sync than min.insync.replicas: 12 of p.events",
        "start broker 1, 2 again, or open the way to it",
    ),
    "two away, and nobody to take note of it": (
        lambda told: told.update(brokers=frozenset({3})), "fail", "no broker leads 12 of p.events",
        "start broker 1, 2 again, or open the way to it",
    ),
    "raised": (
        lambda told: (change(told, "p.dlq", settings={"min.insync.replicas": "3"}), away(told, 3)),
        "fail", "fewer replicas in sync than min.insync.replicas: 12 of p.dlq", "set it to one less than there are",
    ),
    "no leader": (
        lambda told: (change(told, "p.labels", lies=lies(12, (3,))), away(told, 3)),
        "fail", "no broker leads 12 of p.labels", "start broker 3 again",
    ),
    "places": (
        lambda told: told["topics"].update({"__consumer_offsets": TopicState(lies(50, (1,)), {})}),
        "warn", "one replica on 3 brokers: __consumer_offsets", "offsets.topic.replication.factor=3",
    ),
    "one is enough": (
        lambda told: change(told, "p.events", settings={"min.insync.replicas": "1"}),
        "warn", "min.insync.replicas=1: p.events", "min.insync.replicas=2",
    ),
    "all are wanted": (
        lambda told: change(told, "p.events", settings={"min.insync.replicas": "3"}),
        "warn", "min.insync.replicas as high as there are replicas: p.events", "min.insync.replicas=2",
    ),
    "strangers": (
        lambda told: told["topics"].update({"other": TopicState(lies(1, (7,), ()), {})}), "ok", "3 of everything", "",
    ),
    "empty": (lambda told: told["topics"].clear(), "skip", "no pipeline has topics here yet", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_what_brokers_that_are_away_do_to_partitions_is_told_with_the_way_out(case, monkeypatch):
    breaks, status, says, mend = LIES[case]
    told = survey(brokers=3, least=2)
    breaks(told)

    async def surveyed(_):
        return Survey(**told)

    monkeypatch.setattr(cluster, "survey", surveyed)
    found = look(cluster.replicas, kafka="k:9092")
    assert (found.status, says in found.says, mend in found.mend) == (status, True, True), found


def test_one_broker_with_everything_is_no_finding(monkeypatch):
    async def surveyed(_):
        return Survey(**survey())

    monkeypatch.setattr(cluster, "survey", surveyed)
    assert look(cluster.replicas, kafka="k:9092").status == "ok"


@pytest.mark.parametrize(
    ("offset_s", "status"), [(0.01, "ok"), (-0.5, "warn"), (0.5, "warn"), (-3600.0, "fail"), (3600.0, "fail")]
)
def test_clocks_that_differ_are_told(offset_s, status, monkeypatch):
    async def offset(_):
        return offset_s, 0.004

    monkeypatch.setattr(cluster, "clock_offset_s", offset)
    found = look(cluster.clock, kafka="k:9092")
    assert found.status == status
    assert ("behind" in found.says) == (offset_s < 0)


def test_an_old_broker_is_told(monkeypatch):
    async def surveyed(_):
        return Survey(frozenset({1}), "2.7", {})

    monkeypatch.setattr(cluster, "survey", surveyed)
    assert look(cluster.broker, kafka="k:9092").status == "warn"


@pytest.mark.parametrize("check", [each for each in CHECKS if each.name in {"broker", "topics", "replicas"}])
def test_a_broker_that_hangs_leaves_time_for_the_next_address(check, monkeypatch):
    asked = []

    async def surveyed(connection):
        asked.append(connection.request_timeout_s)
        return Survey(**survey())

    monkeypatch.setattr(cluster, "survey", surveyed)
    look(check.look, kafka="hangs:9092,k:9092")
    assert asked
    assert asked[0] <= check.within_s / 3
