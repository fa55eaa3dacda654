import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loadtests.steering.plant import columns
from loadtests.steering.plant.cluster import Cluster, Draws, Scene
from tests.unit.steering.scenes import action, graph, one

from guidevane.control.plant import Action, Setting
from guidevane.control.simulation import Simulation, Trace


def latencies(made, arrivals, ordered, *, slo_s=10.0, seconds=None):
    scene = Scene.of(made, np.asarray(arrivals, dtype=float), deadline_s=slo_s, seed=1)
    cluster = Cluster(scene)
    cluster.obey(ordered)
    for second in range(1, int(seconds or scene.length_s + 60)):
        cluster.advance(float(second))
    return cluster.state.done_s - scene.arrivals_s, cluster


def test_two_events_wait_for_each_other_as_on_paper():
    made = graph({"a": {"latency_ms": {"1": 10}}, "b": {"latency_ms": {"1": 20}}}, [["a", "b"]], hop_ms=4)
    # a: 0-10 and 10-20; there at 14 and 24; b: 14-34 and 34-54.
    took, _ = latencies(made, [0.0, 0.005], action(a=(1, 1), b=(1, 1)))
    assert took == pytest.approx([0.034, 0.049])


def test_a_batch_is_what_waits_when_a_replica_is_free_up_to_its_size():
    made = one({"1": 10, "2": 12, "3": 14})
    # The first starts alone, the next three wait until 10 ms: two of them until 22 ms, the last until 32 ms.
    took, cluster = latencies(made, [0.0, 0.001, 0.002, 0.003], action(a=(1, 2)))
    assert took == pytest.approx([0.010, 0.021, 0.020, 0.029])
    assert cluster.state.served[0].tolist() == [0, 2, 1, 0]


def test_a_batch_may_wait_to_be_filled_and_no_longer():
    made = one({"1": 10, "2": 12})
    waits = Action({"a": Setting("default", 1, 2, wait_s=0.05)}, "test")
    took, _ = latencies(made, [0.0, 0.02, 0.5], waits)
    assert took == pytest.approx([0.032, 0.012, 0.060])


def test_alternatives_are_taken_once_and_a_join_waits_for_the_way_that_was_taken():
    made = graph(
        {name: {"latency_ms": {"1": 10}} for name in "abcd"},
        [["a", "b", 0.3], ["a", "c", 0.7], ["b", "d"], ["c", "d"]],
        exclusive=["a"],
    )
    draws = Draws.of(made, 20_000, seed=3)
    through = {made.names[at]: share for at, share in enumerate((draws.need > 0).mean(axis=0))}
    assert through["b"] == pytest.approx(0.3, abs=0.01)
    assert through["b"] + through["c"] == 1
    assert through["d"] == 1
    assert set(draws.ends) == {1}


def test_a_quorum_goes_on_with_the_first_results_and_the_late_one_costs_its_time():
    members = {"x": 10, "y": 20, "z": 90}
    stages = {name: {"latency_ms": {"1": ms}} for name, ms in ({"s": 1, "j": 5} | members).items()}
    made = graph(stages, [["s", m] for m in members] + [[m, "j"] for m in members], quorum={"j": 2}, hop_ms=0)
    took, cluster = latencies(made, [0.0], action(**dict.fromkeys(stages, (1, 1))))
    assert took == pytest.approx([0.026])
    assert cluster.state.stage[:, columns.FINISHED].sum() == 5


def test_a_level_leaves_a_member_out_and_the_join_waits_for_one_less():
    members = {"x": 10, "y": 20, "z": 90}
    stages = {name: {"latency_ms": {"1": ms}} for name, ms in ({"s": 1, "j": 5} | members).items()}
    made = graph(stages, [["s", m] for m in members] + [[m, "j"] for m in members], quorum={"j": 2}, hop_ms=0)
    took, cluster = latencies(made, [0.0], action(level=1, **dict.fromkeys(stages, (1, 1))))
    left_out = made.index[made.dropped(1)[0]]
    assert cluster.state.stage[left_out, columns.STARTED] == 0
    assert np.isfinite(took).all()


def test_who_cannot_be_in_time_is_shed_before_it_is_computed_and_counts_as_missed():
    made = one(100.0)
    took, cluster = latencies(made, [0.0, 0.01, 0.02], action(shed=True, a=(1, 1)), slo_s=0.195)
    assert np.isinf(took).tolist() == [False, False, True]
    assert cluster.state.fate[:, columns.OUTCOME].tolist() == [columns.FULL, columns.FULL, columns.SHED]
    assert cluster.state.stage[0, columns.STARTED] == 2


def test_a_launch_is_paid_from_its_order_and_serves_after_its_start_up():
    cluster = Cluster(Scene.of(one(10.0, startup_s=3.0), np.array([0.0, 9.5]), deadline_s=1.0, seed=1))
    cluster.obey(action(a=(1, 1)))
    cluster.advance(2.0)
    cluster.obey(action(a=(3, 1)))
    cluster.advance(4.9)
    assert (cluster.serving.sum(), cluster.pending.sum()) == (1, 2)
    cluster.advance(5.1)
    assert (cluster.serving.sum(), cluster.pending.sum()) == (3, 0)
    assert cluster.replica_seconds().sum() == pytest.approx(5.1 + 2 * 3.1)
    cluster.advance(20.0)
    assert cluster.replica_seconds().sum() == pytest.approx(10 + 2 * 8), "nothing is paid for after the last arrival"


def test_launches_are_cancelled_first_and_the_busy_leave_with_their_batch():
    cluster = Cluster(Scene.of(one(4000.0, startup_s=30.0), np.array([0.0, 0.0, 9.0]), deadline_s=1.0, seed=1))
    cluster.obey(action(a=(2, 1)))
    cluster.advance(1.0)
    cluster.obey(action(a=(4, 1)))
    cluster.obey(action(a=(1, 1)))
    assert (cluster.pending.sum(), cluster.state.unit[0, 0, columns.LEAVING]) == (0, 1)
    cluster.advance(3.0)
    cluster.obey(action(a=(2, 1)))
    assert cluster.state.unit[0, 0, columns.LEAVING] == 0, "who leaves is kept before anybody is launched"
    cluster.obey(action(a=(1, 1)))
    cluster.advance(9.5)
    assert cluster.replica_seconds().sum() == pytest.approx(9.5 + 4.0)
    assert cluster.state.done_s[:2] == pytest.approx([4.0, 4.0])


def test_new_hardware_serves_before_the_old_leaves():
    made = graph({"a": {"hardware": {"slow": {"1": 50}, "fast": {"1": 5}}, "startup_s": 2.0}})
    cluster = Cluster(Scene.of(made, np.array([0.0, 9.0]), deadline_s=1.0, seed=1))
    cluster.obey(Action({"a": Setting("slow", 2, 1)}, "test"))
    for second in (1.0, 2.0, 3.0, 4.0):
        cluster.advance(second)
        cluster.obey(Action({"a": Setting("fast", 1, 1)}, "test"))
        assert cluster.serving.sum() >= 1
    assert cluster.serving.tolist() == [[0, 1]]
    assert cluster.actions == 2, "the change, and the end of the old"


def test_mean_wait_is_that_of_an_m_d_1_queue():
    rng = np.random.default_rng(5)
    took, _ = latencies(one(10.0), np.cumsum(rng.exponential(1 / 80, 300_000)), action(a=(1, 1)))
    # Pollaczek-Khinchine: rho / (2 mu (1 - rho)) = 0.8 / (2 * 100 * 0.2).
    assert took.mean() - 0.010 == pytest.approx(0.020, rel=0.05)


@pytest.mark.parametrize(("k", "rho"), [(2, 0.8), (5, 0.9)])
def test_mean_wait_is_that_of_an_m_d_k_queue(k, rho):
    rng = np.random.default_rng(6)
    rate, a = rho * k * 100, rho * k
    terms = np.cumprod([1.0, *(a / i for i in range(1, k + 1))])
    last = terms[k] / (1 - rho)
    m_m_k = last / (terms[:k].sum() + last) / (k * 100 - rate)
    # Cosmetatos (1976): the wait of M/D/k from that of M/M/k, to a percent or two.
    expected = 0.5 * m_m_k * (1 + (1 - rho) * (k - 1) * ((4 + 5 * k) ** 0.5 - 2) / (16 * rho * k))
    took, _ = latencies(one(10.0), np.cumsum(rng.exponential(1 / rate, 300_000)), action(a=(k, 1)))
    assert took.mean() - 0.010 == pytest.approx(expected, rel=0.06)


times = st.lists(st.floats(0, 3), min_size=1, max_size=60).map(sorted)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@example(arrivals=[0.0, 0.0, 0.0], a=(1, 2), b=(1, 1), c=(2, 1), d=(1, 1), quorum=1, exclusive=True)
@given(arrivals=times, a=sizes, b=sizes, c=sizes, d=sizes, quorum=st.integers(1, 2), exclusive=st.booleans())
def test_the_plant_agrees_with_the_controllers_simulation(arrivals, a, b, c, d, quorum, exclusive):
    # Odd times: who of two at the very same moment is first is nobody's promise. Two of one batch may still leave two
    # replicas of a stage at once, so that it is when events end that is compared, and not which of them.
    arrivals = [at + 0.00137 * i for i, at in enumerate(arrivals)]
    tables = {
        "a": {"1": 30, "4": 75},
        "b": {"1": 31.7, "4": 70.3},
        "c": {"1": 17.9, "4": 83.1},
        "d": {"1": 23, "4": 61},
    }
    made = graph(
        {name: {"latency_ms": table} for name, table in tables.items()},
        [["a", "b", 0.5], ["a", "c", 0.5], ["b", "d"], ["c", "d"]],
        exclusive=["a"] if exclusive else [],
        quorum={"d": quorum},
    )
    ordered = action(a=a, b=b, c=c, d=d)
    took, cluster = latencies(made, arrivals, ordered)
    trace = Trace.draw(made, np.asarray(arrivals), seed=1)
    taken = np.ascontiguousarray(cluster.scene.draws.taken.T.astype(bool))
    same = Trace(trace.arrivals, taken, trace.noise, trace.spread)
    simulated = Simulation(made, same, 10.0).run([ordered.settings[name] for name in made.names])
    assert np.sort(arrivals + took) == pytest.approx(np.sort(arrivals + simulated.latencies_s))


@settings(max_examples=40, deadline=None)
@given(
    arrivals=times,
    orders=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=6),
    shed=st.booleans(),
)
def test_whatever_is_ordered_every_event_has_one_outcome(arrivals, orders, shed):
    made = graph({"a": {"latency_ms": {"1": 30, "4": 75}}, "b": {"latency_ms": {"1": 60, "4": 90}}}, [["a", "b", 0.7]])
    cluster = Cluster(Scene.of(made, np.asarray(arrivals), deadline_s=0.4, seed=2))
    for second, (ka, kb, batch) in enumerate((*orders, (1, 1, 4)), start=1):
        cluster.obey(action(shed=shed, a=(ka, batch), b=(kb, batch)))
        cluster.advance(float(second))
    for second in range(len(orders) + 2, 60):
        cluster.obey(action(shed=shed, a=(1, 4), b=(1, 4)))
        cluster.advance(float(second))
    c = cluster.state
    assert cluster.unfinished == 0
    assert sorted(c.done[: cluster.ended]) == list(range(len(arrivals)))
    assert (c.fate[:, columns.OUTCOME] == (columns.FULL if not shed else c.fate[:, columns.OUTCOME])).all()
    assert (np.isfinite(c.done_s) == (c.fate[:, columns.OUTCOME] == columns.FULL)).all()
    assert (c.stage[:, columns.STARTED] == c.stage[:, columns.FINISHED]).all()
    assert (cluster.replicas(columns.LEAVING) == 0).all()
    assert (cluster.serving == 1).all()


@settings(max_examples=40, deadline=None)
@given(arrivals=times, replicas=st.integers(1, 4), more=st.integers(1, 3))
def test_more_replicas_are_never_later(arrivals, replicas, more):
    made = graph({"a": {"latency_ms": {"1": 80}, "jitter": 0.3}})
    few, _ = latencies(made, arrivals, action(a=(replicas, 1)))
    many, _ = latencies(made, arrivals, action(a=(replicas + more, 1)))
    assert (many <= few + 1e-12).all()
