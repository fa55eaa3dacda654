"""Given more events than the members can answer in time, then most of what they can do is done, and nothing is lost."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace

import pytest
from tests.unit.services.overload import PIPELINE, events, play
from tests.unit.services.virtual_time import in_virtual_time

from guidevane import Ensemble, Latency, Member, Threshold

# deep answers 32 rows in 252 ms, one batch after the other: 127 events a second.
LINES = {"quick": (0.015, 0.0003), "deep": (0.06, 0.006)}
CAPACITY_PER_S = 32 / 0.252
SLO_S = 0.9


def in_order(order: dict[bytes, list[str]]) -> bool:
    return all(int(a) < int(b) for ids in order.values() for a, b in itertools.pairwise(ids))


def test_given_half_again_as_much_as_members_can_do_then_nearly_all_they_can_do_is_in_time_and_all_is_lost_without():
    happens = events(1.5 * CAPACITY_PER_S, 8.0)

    shed = in_virtual_time(play(happens, LINES))
    late = in_virtual_time(play(happens, LINES, level=0))

    able = CAPACITY_PER_S * 8.0
    assert shed.good(SLO_S) > 0.95 * able
    assert late.good(SLO_S) < 0.5 * shed.good(SLO_S)
    assert set(shed.outcomes()) == {"full", "shed"}
    assert "shed" not in late.outcomes()
    # What is shed is not computed first.
    assert shed.members.rows["deep"] == shed.outcomes()["full"]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("calls", [None, 16])
def test_given_replicas_that_idle_then_events_that_come_together_do_not_wait_for_each_other(
    level: int, calls: int | None
) -> None:
    members = tuple(replace(each, tile=1) for each in PIPELINE.ensemble.members)
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, members=members))
    together = [
        (float(second), {"sensor": f"s{index}", "value": 1.0, "site": "north"})
        for second in range(6)
        for index in range(8)
    ]

    def p50_s(**known: bool) -> float:
        played = in_virtual_time(
            play(together, {"quick": (0.01, 0.0), "deep": (0.1, 0.05)}, pipeline=pipeline, replicas=8, level=level,
                 calls=calls, **known)
        )  # fmt: skip
        assert set(played.outcomes()) == {"full"}
        return statistics.median(played.took_s.values())

    assert p50_s(replicas_known=True) < 0.7 * p50_s()


@pytest.mark.parametrize("level", [0, 1])
def test_given_many_replicas_of_a_slow_member_and_few_of_a_quick_one_then_all_of_them_are_used(level: int) -> None:
    members = tuple(replace(each, tile=1) for each in PIPELINE.ensemble.members)
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, members=members), slo=Latency(within_ms=2000))
    # In batches of eight, deep answers 71 a second and quick 154; one by one, quick would answer 41.
    lines, replicas = {"quick": (0.04, 0.008), "deep": (0.15, 0.15)}, {"quick": 2, "deep": 12}

    played = in_virtual_time(
        play(events(55.0, 12.0), lines, pipeline=pipeline, replicas=replicas, replicas_known=True, level=level,
             max_batch=8, calls=13)
    )  # fmt: skip

    assert played.good(2.0) > 0.99 * len(played.decisions)


@pytest.mark.parametrize("level", [0, 1, 3])
def test_given_overload_at_any_level_then_each_event_has_one_outcome_and_those_of_a_key_keep_their_order(level: int):
    happens = events(2 * CAPACITY_PER_S, 3.0)

    played = in_virtual_time(play(happens, LINES, level=level))

    assert played.written == len(played.decisions) == len(happens)
    assert in_order(played.order)


def test_given_a_quorum_without_the_slow_member_then_overload_degrades_and_nobody_is_shed():
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, quorum=1))

    played = in_virtual_time(play(events(1.5 * CAPACITY_PER_S, 5.0), LINES, pipeline=pipeline))

    assert set(played.outcomes()) == {"full", "degraded"}
    assert played.good(SLO_S) > 0.99 * len(played.decisions)
    assert played.members.rows["deep"] > 0.5 * CAPACITY_PER_S * 5.0
    degraded = next(each for each in played.decisions.values() if each["outcome"] == "degraded")
    assert set(degraded["models"]) == {"quick"}


def test_given_a_variant_then_it_answers_those_for_whom_a_quorum_has_no_time():
    ensemble = Ensemble(PIPELINE.ensemble.members, quorum=2, variant=Member("tiny", "m:tiny"))
    pipeline = replace(PIPELINE, ensemble=ensemble)
    lines = {**LINES, "tiny": (0.006, 0.00003)}

    played = in_virtual_time(play(events(1.5 * CAPACITY_PER_S, 5.0), lines, pipeline=pipeline))

    assert set(played.outcomes()) == {"full", "degraded"}
    assert played.good(SLO_S) > 0.99 * len(played.decisions)
    assert {tuple(each["models"]) for each in played.decisions.values()} == {("quick", "deep"), ("tiny",)}


def test_given_a_fallback_of_the_decisions_own_then_it_answers_in_time_where_no_member_can():
    pipeline = replace(PIPELINE, decision=Threshold(0.5, positive="stop", negative="go", fallback="ask"))

    played = in_virtual_time(play(events(1.5 * CAPACITY_PER_S, 5.0), LINES, pipeline=pipeline))

    ruled = {event_id for event_id, each in played.decisions.items() if each["outcome"] == "fallback"}
    assert len(ruled) > 0.2 * len(played.decisions)
    assert {played.decisions[event_id]["decision"] for event_id in ruled} == {"ask"}
    assert sum(played.took_s[event_id] <= SLO_S for event_id in ruled) > 0.95 * len(ruled)


def test_given_a_level_above_slack_then_members_are_left_out_for_everybody_then_all_of_them():
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, quorum=1))
    happens = events(16.0, 4.0)

    without_deep = in_virtual_time(play(happens, LINES, pipeline=pipeline, level=2))
    without_all = in_virtual_time(play(happens, LINES, pipeline=pipeline, level=4))

    assert set(without_deep.outcomes()) == {"degraded"}
    # Who is the slower must be seen once.
    assert without_deep.members.rows["deep"] < 0.1 * without_deep.members.rows["quick"]
    assert (set(without_all.outcomes()), sum(without_all.members.rows.values())) == ({"shed"}, 0)


def test_given_no_overload_then_even_what_came_too_late_is_decided_in_full():
    played = in_virtual_time(play(events(8.0, 6.0), LINES, late_s=lambda index: 3.0 if index % 5 == 0 else 0.0))

    assert set(played.outcomes()) == {"full"}


def test_given_some_events_that_come_with_less_time_then_they_go_first():
    # One in four has lost 300 ms on its way: in the order of arrival it would be the first to be late.
    def late_s(index: int) -> float:
        return 0.3 if index % 4 == 0 else 0.0

    played = in_virtual_time(play(events(1.02 * CAPACITY_PER_S, 8.0), LINES, late_s=late_s))

    hurried = [played.took_s[event_id] <= SLO_S for event_id in played.decisions if int(event_id) % 4 == 0]
    assert sum(hurried) > 0.75 * len(hurried)


@pytest.mark.parametrize("outcome", ["shed", "degraded"])
def test_given_a_group_whose_events_come_with_less_time_then_its_share_stays_within_the_bound(outcome: str):
    quorum = 2 if outcome == "shed" else 1
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, quorum=quorum))
    happens = events(1.5 * CAPACITY_PER_S, 8.0, site=lambda index: "south" if index % 4 == 0 else "north")

    def late_s(index: int) -> float:
        return 0.45 if index % 4 == 0 else 0.0

    bound = in_virtual_time(play(happens, LINES, pipeline=pipeline, late_s=late_s, group_bound=0.05))
    free = in_virtual_time(play(happens, LINES, pipeline=pipeline, late_s=late_s, group_bound=1.0))

    worse = {"shed"} if outcome == "shed" else {"degraded", "shed"}
    overall = sum(each["outcome"] in worse for each in bound.decisions.values()) / len(bound.decisions)
    assert overall > 0.1
    assert bound.share("south", worse) <= overall + 0.05 + 0.01
    assert free.share("south", worse) > bound.share("south", worse)
    key = f"guidevane_group_decisions_total|attribute=site|value=south|outcome={outcome}"
    south = [each for each in bound.decisions.values() if each["protected"]["site"] == "south"]
    assert bound.telemetry[key] == sum(each["outcome"] == outcome for each in south)


@pytest.mark.parametrize("level", [0, 1])
def test_given_more_replicas_then_so_many_batches_are_under_way_that_all_are_busy(level: int):
    played = in_virtual_time(play(events(3 * CAPACITY_PER_S, 4.0), LINES, replicas=8, level=level))

    assert played.good(SLO_S) > 0.97 * len(played.decisions)


def test_given_members_that_cannot_follow_then_batches_grow_with_what_waits():
    played = in_virtual_time(play(events(1.5 * CAPACITY_PER_S, 5.0), LINES, level=0))

    assert played.members.rows["deep"] / played.members.calls["deep"] > 24
