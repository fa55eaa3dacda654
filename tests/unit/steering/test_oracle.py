"""The search of who knows the future: what it is spared, where it ends, and what it is worth."""

from itertools import pairwise

import numpy as np
import pytest
from loadtests.steering import policies, workloads
from loadtests.steering.baselines import inferline, oracle, static
from loadtests.steering.case import Case
from loadtests.steering.comparing import compare
from loadtests.steering.plant import trial
from loadtests.steering.plant.cluster import Scene
from tests.unit.steering.scenes import graph, one

from guidevane.control.plant import Setting


@pytest.fixture(scope="module")
def case():
    at = workloads.named("spike")(rate_per_s=60.0, seconds=300, seed=1)
    stages = {"a": {"latency_ms": {"1": 20, "8": 60}, "startup_s": 10}, "b": {"latency_ms": {"1": 8, "4": 20}}}
    return Case(graph(stages, [["a", "b"]]), at, 0.2)


def search(case, **options):
    prepared = policies.Prepared(case)
    return oracle.Search(case, prepared.starts, **options)


def test_the_search_ends_after_the_same_counted_work_each_time_and_says_how_far_it_is(case):
    shares = []
    once, again = (search(case, work=500_000, told=shares.append) for _ in range(2))
    whole = search(case)

    found = [each.run() for each in (once, again, whole)]

    one_run = 3 * case.arrivals_s.size * len(case.graph.stages)
    assert -one_run < once.left == again.left <= 500_000
    assert found[0].cost_usd == found[1].cost_usd >= found[2].cost_usd > 0
    assert shares[: len(shares) // 2] == sorted(shares[: len(shares) // 2])
    assert shares[-1] == pytest.approx(1, abs=0.2)


def test_what_is_dearer_by_its_orders_alone_is_not_simulated(case):
    made = search(case)
    plan = made.plans[0]
    needed = np.full((made.seconds, 2), 3)
    cost = made.least_usd(plan, made.orders(plan, needed))

    dearer = made.tried(oracle.Schedule(plan, needed), below_usd=cost)
    assert dearer.cost_usd == np.inf
    assert made.share_left == 1

    tried = made.tried(oracle.Schedule(plan, needed), below_usd=2 * cost)
    assert made.share_left < 1
    assert tried.cost_usd >= cost


def test_orders_that_nobody_ends_early_cost_what_they_cost_at_least(case):
    made = search(case)
    plan = made.plans[0]
    needed = made.needed(plan, 10, np.array([0.5, 0.5]))

    tried = made.tried(oracle.Schedule(plan, needed))

    least = made.least_usd(plan, made.orders(plan, needed))
    assert least <= tried.cost_usd <= 1.02 * least


def test_the_oracle_is_the_cheapest_of_all_that_hold_even_where_its_own_search_found_nothing(case, monkeypatch):
    monkeypatch.setattr(oracle.Search, "run", lambda _: None)
    monkeypatch.setattr(policies.Prepared, "peak", {n: Setting("default", 1, 1) for n in case.graph.names})

    made = compare(case, ["inferline", "oracle"])

    assert made["inferline"].score.kept
    assert made["oracle"].score.kept
    assert made["oracle"].score.oracle_ratio == 1


def test_the_oracle_begins_with_hardware_that_only_who_sheds_can_take():
    kinds = {
        "quick": {"latency_ms": {"1": 15, "4": 30}, "price_usd_per_hour": 3},
        "slow": {"latency_ms": {"1": 110, "4": 150}, "price_usd_per_hour": 0.3},
    }
    at = workloads.renewal(np.full(300, 30.0), scv=8.0, rng=np.random.default_rng(1))
    bursty = policies.Prepared(Case(graph({"a": {"hardware": kinds}}), at, 0.2))

    assert [each["a"].hardware for each in bursty.starts] == ["quick", "slow"]


def test_where_nothing_costs_anything_everybody_is_as_cheap_as_the_oracle():
    free = Case(one(10.0, price_usd_per_hour=0), np.arange(0, 60, 0.1), 0.2)

    made = compare(free, ["static_peak", "oracle"])

    assert [each.score.oracle_ratio for each in made.values()] == [1.0, 1.0]


def test_a_planner_simulates_no_plan_twice_and_needs_no_step_a_replica():
    # 1,000/s at 500 ms are 511 replicas that no simulation need tell.
    at = np.arange(0, 30, 0.001)
    planner = inferline.Planner(Scene.of(one({"1": 500.0}), at, deadline_s=0.8, seed=1), 0.01)

    made = planner.plan()

    assert 500 <= made["a"].replicas <= 515
    before = planner.simulations
    assert planner.feasible(made)
    assert planner.simulations == before < 20


def test_a_planner_whose_work_is_done_keeps_its_hardware_and_still_gives_replicas_up():
    kinds = {
        "quick": {"latency_ms": {"1": 10, "4": 20}, "price_usd_per_hour": 5},
        "slow": {"latency_ms": {"1": 15, "4": 30}, "price_usd_per_hour": 1},
    }
    at = np.cumsum(np.random.default_rng(1).exponential(1 / 60, 4000))
    scene = Scene.of(graph({"a": {"hardware": kinds}}), at, deadline_s=0.2, seed=1)

    whole, cut = inferline.Planner(scene, 0.01), inferline.Planner(scene, 0.01, work=1.0)

    assert whole.plan()["a"].hardware == "slow"
    assert cut.plan()["a"].hardware == "quick"
    assert cut.feasible(static.polished(cut, cut.plan()))


def test_a_static_plan_takes_the_hardware_that_is_cheapest_together():
    # Where everything starts on the fastest, each stage alone can be moved to what is slow only as long as the others
    # leave it the time; greedy takes first what saves most then, and is left with what is dear.
    def kinds(quick_ms: float, price: float) -> dict:
        return {
            "quick": {"latency_ms": {"1": quick_ms, "8": 2.5 * quick_ms}, "price_usd_per_hour": price},
            "slow": {"latency_ms": {"1": 2.5 * quick_ms, "4": 7 * quick_ms}, "price_usd_per_hour": price / 9},
        }

    names = [f"s{number}" for number in range(6)]
    stages = {name: {"hardware": kinds(8 + 3 * (7 * at % 6), 0.9)} for at, name in enumerate(names)}
    made = graph(stages, [list(pair) for pair in pairwise(names)], hop_ms=4)
    at = np.cumsum(np.random.default_rng(1).exponential(1 / 30, 2000))
    scene = Scene.of(made, at, deadline_s=0.6, seed=1)
    planner = inferline.Planner(scene, 0.01)
    greedy, plan = planner.plan(), static.plan(scene, 0.01)

    assert planner.feasible(plan)
    assert inferline.usd_per_hour(made, plan) < 0.95 * inferline.usd_per_hour(made, greedy)


def test_work_is_counted_by_visits_and_stops_where_the_run_does():
    scene = Scene.of(one(10.0), np.arange(0, 60, 0.01), deadline_s=0.2, seed=1)

    enough, short = (
        trial.misses(scene, *trial.constant(scene, {"a": Setting("default", count, 1)}), most=60) for count in (2, 1)
    )

    assert enough.missed == 0
    assert enough.work > 6000
    # One replica is busy all the time and ever later: the run ends when 61 are known to be late.
    slower = Scene.of(one(20.0), np.arange(0, 60, 0.01), deadline_s=0.2, seed=1)
    late = trial.misses(slower, *trial.constant(slower, {"a": Setting("default", 1, 1)}), most=60)
    assert late.missed > 60
    assert late.work < enough.work / 2
    assert late.cost_usd == np.inf
    assert short.work == pytest.approx(enough.work, rel=0.01)
