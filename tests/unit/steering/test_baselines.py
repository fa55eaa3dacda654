"""Each baseline's formula, by examples that were computed by hand."""

import numpy as np
import pytest
from loadtests.steering.baselines import coarse, hpa, inferline, keda, mark, oracle, ray
from loadtests.steering.plant.cluster import Scene
from tests.unit.steering.scenes import graph, one, seen

from guidevane.control.plant import Setting

START = {"a": Setting("default", 2, 4)}


def played(policy, observations):
    memory, replicas = None, []
    for each in observations:
        made, memory = policy(each, memory)
        replicas.append(made.settings["a"].replicas)
    return replicas


def test_ray_waits_30_s_above_its_target_and_forgets_who_is_starting():
    # 12 ongoing / 2 = 6 replicas are wanted from the first push (10 s) on; decided 30 s later.
    replicas = played(ray.Ray(START), [seen(t, queue=10, in_service=2, ready=2) for t in range(60)])
    assert replicas[:40] == [2] * 40
    assert replicas[40:] == [6] * 20


def test_ray_takes_the_time_weighted_mean_of_what_was_pushed():
    # Samples at 6 s (0) and 12 s (20), pushed at 20 s with 18 s (20): over [0, 19): 6 s of 0, 7 s of 20.
    policy = ray.Ray(START, up_delay_s=0.0)
    replicas = played(policy, [seen(t, queue=20 if t >= 12 else 0, ready=2) for t in range(21)])
    # (0 * 6 + 20 * 6 + 20 * 1) / 13 = 10.77; / 2 = 5.4.
    assert replicas[20] == 6


def test_ray_goes_down_after_600_s_to_the_last_value():
    replicas = played(ray.Ray({"a": Setting("default", 9, 4)}), [seen(t, queue=4, ready=9) for t in range(615)])
    assert set(replicas[:610]) == {9}
    assert replicas[610] == 2


def test_ray_never_fills_its_batch_of_ten():
    made, _ = ray.Ray(START)(seen(0), None)
    assert made.settings["a"].batch == 5


@pytest.mark.parametrize(
    ("used", "ready", "pending", "expected"),
    [
        (1.4, 2, 0, 2),  # 0.7: on target
        (1.5, 2, 0, 2),  # 1.07: within the tolerance
        (1.6, 2, 0, 3),  # ceil(2 * 0.8 / 0.7)
        (0.5, 2, 0, 1),
        (4.0, 4, 0, 6),  # ceil(4 / 0.7)
        (4.0, 4, 1, 6),  # 4 / 3.5 = 1.14: ceil(1.14 * 5)
        (4.0, 4, 3, 7),  # 4 / 4.9 < 1: those who start suffice
        (0.0, 0, 2, 2),  # nobody is ready: nothing is known
    ],
)
def test_hpa_asks_for(used, ready, pending, expected):
    assert hpa.wanted(used, ready=ready, pending=pending, target=0.7) == expected


def test_hpa_decides_every_15_s_up_by_at_most_four_or_double():
    busy = [seen(t, busy_s=20.0, ready=2) for t in range(31)]
    replicas = played(hpa.HPA(START, 0.7), busy)
    assert replicas[14] == 2
    assert replicas[15] == 6
    assert replicas[30] == 12


def test_hpa_goes_down_to_the_highest_of_300_s():
    policy = hpa.HPA({"a": Setting("default", 8, 4)}, 0.5)
    replicas = played(policy, [seen(t, busy_s=0.0 if t == 0 else 3.0 if t <= 15 else 1.0, ready=8) for t in range(340)])
    assert replicas[15] == 6, "ceil(3 / 0.5), from eight, is at once the highest that was recommended"
    assert replicas[314] == 6
    assert replicas[315] == 2


def test_keda_divides_the_lag_by_ten_every_30_s_and_stops_at_the_partitions():
    replicas = played(keda.KEDA(START, partitions=5), [seen(t, queue=100, in_service=5, ready=2) for t in range(46)])
    assert replicas[29] == 2
    assert replicas[30] == 5


def test_inferlines_planner_ends_where_no_single_action_saves():
    # 60/s at 20 ms: one replica at batch 1 is too slow (50/s), two are enough; with batches of two (92/s) one is, and
    # doubling once more costs nothing.
    made = one({"1": 20, "4": 25})
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / 60, 4000))
    scene = Scene.of(made, arrivals, deadline_s=0.2, seed=1)
    assert inferline.Planner(scene, 0.01).plan() == {"a": Setting("default", 1, 4)}


def test_inferlines_envelope_and_its_tuner():
    tuner = inferline.InferLine(
        one({"1": 20, "4": 40}), START, planned=(150.0, 120.0), sizes=(1, 120), rate_per_s=100.0
    )
    assert tuner.busy() == {"a": pytest.approx(0.5 * 1.0, rel=0.03)}
    # 100 events in half a second: 200/s exceed 150/s; ceil(200 / (100 * 0.5)) with mu = 4 / 40 ms.
    quiet = [seen(float(t), counts=(50, 50)) for t in range(1, 20)]
    burst = [seen(20.0, counts=(50, 100))]
    after = [seen(float(t), counts=(50, 50)) for t in range(21, 80)]
    replicas = played(tuner, [*quiet, *burst, *after])
    assert replicas[19] == 4
    assert replicas[19 + 14] == 4, "15 s after the last change, and the burst is in the last 30 s until second 50"
    assert replicas[-1] == 2


def test_inferlines_two_readings_of_rho_on_the_way_down():
    made = graph({"a": {"latency_ms": {"1": 10}}, "b": {"latency_ms": {"1": 1}}}, [["a", "b"]])
    plan = {"a": Setting("default", 2, 1), "b": Setting("default", 1, 1)}
    own = inferline.InferLine(made, plan, (), (), 100.0, "own")
    # b: 100/s of 1,000/s is busy 0.1; with its own rho 100/s need 1 replica of it, with the least, a needs 10.
    assert own.replicas(100.0, own.busy().__getitem__) == {"a": 2, "b": 1}
    assert own.replicas(100.0, lambda _: 0.1)["a"] == pytest.approx(10, abs=1)


def test_a_coarse_unit_takes_the_largest_common_batch_that_is_in_time():
    tables = {"a": {"latency_ms": {"1": 10, "4": 20}}, "b": {"latency_ms": {"1": 10, "4": 40}}}
    made = graph(tables, [["a", "b"]], hop_ms=4)
    plan, borne = coarse.unit(made, 0.050)
    # Batch 3: 16.7 + 4 + 30 = 50.7 ms are too many; batch 2: 13.3 + 4 + 20. b bears 2 / 20 ms.
    assert plan["a"].batch == plan["b"].batch == 2
    assert borne == pytest.approx(100)
    assert coarse.coarse(made, 0.050, 250.0)["b"].replicas == 3


def test_mark_is_ready_for_the_line_through_the_last_minute():
    # 10 s rates 10, 20, ..., 60; the line reaches 80 after 20 s more; a replica bears 100/s, busy 0.8.
    policy = mark.MArk(one(10.0, startup_s=20.0), {"a": Setting("default", 1, 1)})
    ramp = [seen(float(t), counts=(10 * ((t - 1) // 10 + 1), 0)) for t in range(1, 61)]
    assert mark.predicted([10.0, 20.0, 30.0, 40.0, 50.0, 60.0], 20.0) == pytest.approx(80)
    assert played(policy, ramp)[-1] == 1
    assert played(policy, [seen(float(t), counts=(200, 0)) for t in range(1, 11)])[-1] == 3


def test_the_oracle_keeps_what_would_cost_more_to_launch_again():
    needed = np.array([1, 2, 1, 1, 1, 1, 2, 1])
    assert oracle.kept(needed, 2.0).tolist() == [2, 2, 1, 1, 2, 2, 2, 1]
    assert oracle.kept(needed, 4.0).tolist() == [2, 2, 2, 2, 2, 2, 2, 1]
