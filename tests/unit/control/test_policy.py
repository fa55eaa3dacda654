"""Given what was seen, when a policy decides, then it keeps its limits, follows the rate, and never flaps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.limits import Sighted, Together, Within, policy_for
from guidevane.control.observation import HOT, MemberSeen, Observation, StageSeen
from guidevane.control.policy import (
    FETCH_WAITS_S,
    Batches,
    FetchWaits,
    Hold,
    Memory,
    Patience,
    Replicas,
    Scale,
    Set,
)
from guidevane.slo import Latency

SECOND_US = 1_000_000
RATES = st.floats(0.0, 5_000.0)


def seen(at_s: float = 0.0, *, rate=100.0, p99=0.06, busy=0.5, replicas=1, lag=None, **more) -> Observation:
    stages = tuple(
        StageSeen(
            name=name,
            fetches=True,
            records=500,
            rate_per_s=rate,
            lag_records=lag if name == "inference" else None,
            age_p99_s=p99,
            service_s=0.02,
            settings={"fetch_wait_s": 0.012, "max_batch": 16.0},
        )
        for name in HOT
    )
    member = MemberSeen(name="deep", busy=busy, rows_per_s=rate, replicas=replicas)
    return Observation(at_us=int(at_s * SECOND_US), pipeline="p", stages=stages, members=(member,), **more)


OBSERVATIONS = st.builds(
    seen,
    st.just(0.0),
    rate=RATES,
    p99=st.floats(0.0, 10.0) | st.none() | st.just(float("inf")),
    busy=st.floats(0.0, 40.0) | st.none(),
    replicas=st.integers(1, 6) | st.none(),
    lag=st.floats(0.0, 1e6) | st.none(),
    missing=st.sampled_from([(), (), (), ("inference",)]),
    paused=st.sampled_from(["", "", "", "by ada: roll-out"]),
)
LOGS = st.lists(OBSERVATIONS, max_size=40).map(
    lambda log: [replace(each, at_us=number * SECOND_US) for number, each in enumerate(log)]
)


def played(policy, log):
    memory, told = Memory(), []
    for each in log:
        actions, memory = policy(each, memory)
        told.append(actions)
    return told


@given(LOGS)
def test_given_any_log_when_played_twice_then_the_actions_are_the_same_and_there_is_always_one(log) -> None:
    policy = policy_for(Latency(p=0.99, within_ms=200))

    once = played(policy, log)

    assert once == played(policy, log)
    assert all(once)


@given(LOGS, st.integers(1, 4), st.integers(0, 4), st.integers(1, 3))
def test_given_any_log_then_replicas_stay_within_bounds_and_no_step_is_too_large(log, least, more, step) -> None:
    policy = Within(Replicas(patience=Patience(0, 0)), least, least + more, step)

    for actions, each in zip(played(policy, log), log, strict=True):
        for action in actions:
            if isinstance(action, Scale):
                assert least <= action.replicas <= least + more
                outside = not least <= each.members[0].replicas <= least + more
                assert outside or abs(action.replicas - action.before) <= step
                assert action.replicas != action.before


@given(LOGS)
def test_given_any_log_then_waits_are_of_the_ladder_and_nothing_is_done_where_a_stage_is_missing(log) -> None:
    for actions, each in zip(played(policy_for(Latency(within_ms=200)), log), log, strict=True):
        for action in actions:
            assert not isinstance(action, Set) or action.name != "fetch_wait_s" or action.value in FETCH_WAITS_S
            assert isinstance(action, Hold) or not (each.missing or each.paused)


@given(RATES, RATES, st.floats(0.0001, 1.0), st.integers(1, 8), st.floats(1e-5, 0.1))
def test_given_a_higher_rate_then_never_less_is_wanted(a, b, service_s, replicas, per_row_s) -> None:
    low, high = sorted((a, b))
    policy, member = Replicas(), MemberSeen(name="deep", busy=per_row_s * 10, rows_per_s=10.0, replicas=replicas)
    wanted = [policy.wanted(policy.demand(member, rate, 0.0), replicas) for rate in (low, high)]

    assert wanted[0] <= wanted[1]
    assert Batches().max_batch(low, service_s) <= Batches().max_batch(high, service_s)


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.integers(1, 4))
def test_given_less_to_spare_then_the_wait_is_never_longer(a, b, hops) -> None:
    low, high = sorted((a, b))

    waits = FetchWaits(within_s=0.2)
    assert waits.wait_s(low, hops) <= waits.wait_s(high, hops)


@given(st.floats(0.0, 7.0), st.integers(1, 8))
def test_given_steady_demand_when_the_policy_has_its_way_then_it_moves_once_and_never_again(demand, replicas) -> None:
    policy, moves = Replicas(patience=Patience(0, 0)), []
    for _ in range(5):
        wanted = policy.wanted(demand, replicas)
        if wanted != replicas:
            moves.append(wanted)
        replicas = wanted

    assert len(moves) <= 1


@given(st.floats(0.01, 0.4), st.floats(0.0, 0.05), st.sampled_from(FETCH_WAITS_S))
def test_given_a_way_that_takes_its_time_when_waits_follow_then_they_come_to_rest(way_s, noise_s, wait_s) -> None:
    policy, memory, changes = FetchWaits(within_s=0.2), Memory(), []
    for second in range(200):
        now = seen(second, p99=way_s + len(HOT) * wait_s + noise_s * (second % 2) * 0.1)
        settings = {"fetch_wait_s": wait_s}
        now = replace(now, stages=tuple(replace(each, settings=settings) for each in now.stages))
        actions, memory = policy(now, memory)
        if actions:
            wait_s = actions[0].value
            changes.append(second)

    assert len(changes) <= 2
    assert not [second for second in changes if second > 60]


def test_given_replicas_that_are_busy_when_patience_is_over_then_one_more_is_asked_for() -> None:
    log = [seen(second, rate=0.0, busy=0.9, replicas=1) for second in range(5)]

    told = played(Replicas(), log)

    assert [len(actions) for actions in told] == [0, 0, 0, 1, 0]
    assert (told[3][0].member, told[3][0].replicas, told[3][0].before) == ("deep", 2, 1)


def test_given_one_quiet_second_among_busy_ones_then_nothing_shrinks() -> None:
    log = [seen(second, busy=0.1 if second % 30 else 1.3, replicas=2) for second in range(200)]

    assert not [action for actions in played(Replicas(), log) for action in actions]


def test_given_a_backlog_behind_replicas_that_are_overrun_then_the_demand_counts_what_waits() -> None:
    member = MemberSeen(name="deep", busy=1.0, rows_per_s=100.0, replicas=1)

    assert Replicas(drain_s=10.0).demand(member, 100.0, 0.0) == pytest.approx(1.0)
    assert Replicas(drain_s=10.0).demand(member, 300.0, 1_000.0) == pytest.approx(4.0)


def test_given_an_objective_that_is_missed_then_waits_fall_at_once_and_before_with_patience() -> None:
    (late,) = played(FetchWaits(within_s=0.2), [seen(p99=0.4)])
    (near,) = played(FetchWaits(within_s=0.2), [seen(p99=0.19)])

    assert {action.value for action in late} == {0.008}
    assert near == []


def test_given_few_events_then_no_percentile_is_trusted() -> None:
    few = seen(p99=5.0)
    few = replace(few, stages=tuple(replace(each, records=3) for each in few.stages))

    assert played(FetchWaits(within_s=0.2), [few]) == [[]]


def test_given_a_setting_that_a_person_made_then_it_stays() -> None:
    theirs = seen(p99=5.0)
    theirs = replace(theirs, stages=tuple(replace(each, settings_by="ada") for each in theirs.stages))

    (actions,) = played(Together([FetchWaits(within_s=0.2), Batches()]), [theirs])

    assert actions == [Hold("on course")]


def test_given_a_pause_or_a_silent_stage_then_it_holds_says_so_and_forgets_what_it_intended() -> None:
    policy = Sighted(Together([Replicas()]))
    _, waiting = policy(seen(0, busy=5.0), Memory())
    paused, memory = policy(seen(1, busy=5.0, paused="by ada: roll-out"), waiting)
    blind, _ = policy(seen(2, busy=5.0, missing=("inference",)), memory)

    assert "replicas|deep" in waiting.intents
    assert (paused, memory) == ([Hold("paused: by ada: roll-out")], Memory())
    assert blind == [Hold("no telemetry from inference")]


def test_given_replicas_that_nobody_knows_then_the_hold_says_so() -> None:
    (actions,) = played(Together([Replicas()]), [seen(busy=5.0, replicas=None)])

    assert actions == [Hold("on course; replicas of deep are not known")]
