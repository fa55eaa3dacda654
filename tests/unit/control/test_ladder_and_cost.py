"""Given an event's slack, and what replicas cost: the least loss, and a bill that adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.cost import Spend, month_end_usd, pareto
from guidevane.control.ladder import Member, choose
from guidevane.control.plant import Observation, StageObservation
from guidevane.control.reading import read_graph
from guidevane.control.trial import Demand

GRAPH = read_graph({"stages": {"model": {"latency_ms": {"1": 20, "8": 60}, "price_usd_per_hour": 0.7}}})
MEMBERS = st.lists(st.tuples(st.floats(0.1, 1), st.floats(0.001, 0.2)), min_size=1, max_size=6)


@given(MEMBERS, st.floats(-0.05, 0.3), st.integers(1, 3))
def test_whoever_is_asked_answers_in_time_and_makes_a_quorum(drawn, slack_s, quorum):
    members = [Member(str(at), *each) for at, each in enumerate(drawn)]

    choice = choose(slack_s, members, quorum=quorum)

    asked = [each for each in members if each.name in choice.members]
    assert all(each.expected_s <= slack_s for each in asked)
    assert len(asked) >= quorum or not asked
    assert (choice.rung == "full") == (len(asked) == len(members))


@given(MEMBERS, st.floats(0, 0.3), st.floats(0, 0.1))
def test_more_slack_never_means_fewer_members(drawn, slack_s, more_s):
    members = [Member(str(at), *each) for at, each in enumerate(drawn)]

    assert len(choose(slack_s + more_s, members, quorum=1).members) >= len(choose(slack_s, members, quorum=1).members)


def test_the_rungs_below_the_ensemble_are_taken_in_order():
    slow = [Member("deep", 0.9, 1.0)]

    assert choose(0.1, slow, quorum=1, cached=True, variant_s=0.05, rule_s=0.0).rung == "cached"
    assert choose(0.1, slow, quorum=1, variant_s=0.05, rule_s=0.0).rung == "variant"
    assert choose(0.01, slow, quorum=1, variant_s=0.05, rule_s=0.0).rung == "rule"
    assert choose(-0.01, slow, quorum=1, variant_s=0.05, rule_s=0.0, cached=True).rung == "shed"


def test_replicas_that_start_or_leave_are_paid_for():
    stage = StageObservation(
        name="model", arrivals=0, queue=0, ready=2, hardware="default", batch=1, pending=(9.0,), retiring=1
    )
    seen = Observation(time_s=1.0, interval_s=1.0, counts=(0, 0), stages=(stage,))

    assert Spend.of(GRAPH, seen).total_usd_per_hour == 0.7 * 4


def test_a_dear_hour_makes_the_p90_bill_dearer_than_the_p50_one():
    assert month_end_usd(5.0, [1, 1, 1, 4], 2.0, 0.9) > month_end_usd(5.0, [1, 1, 1, 4], 2.0, 0.5) == 7.0


def test_a_longer_objective_is_never_dearer():
    points = pareto(GRAPH, Demand(90.0, events=1500), [0.3, 0.01, 0.06], 0.02)

    assert points[0] == (0.01, None)
    costs = [plan.usd_per_hour for _, plan in points if plan]
    assert costs == sorted(costs, reverse=True)
