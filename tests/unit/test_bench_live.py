"""Given the live bench's arrivals and members, then they are what the bench says they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from loadtests.live.emulated import LATENCY_S, SLO_MS, graph, pipeline
from loadtests.live.forecasting import forecast, opening, peak, rate, site
from loadtests.live.guided import Guided
from loadtests.live.report import trial_path, write
from loadtests.live.workloads import RATE_PER_S, arrivals
from loadtests.steering.case import Case
from loadtests.steering.playing import play

from guidevane.control.reading import read_graph


@pytest.mark.parametrize("name", ["step", "spike", "azure_code"])
def test_given_a_workload_then_it_ascends_within_the_run_and_repeats_by_its_seed(name) -> None:
    times = arrivals(name, 120.0, 1)

    assert len(times) > 100
    assert (np.diff(times) >= 0).all()
    assert times[-1] < 120.0
    assert (arrivals(name, 120.0, 1) == times).all()


def test_given_the_spike_then_it_is_four_times_what_comes_before_it() -> None:
    times = arrivals("spike", 600.0, 1)
    before = (times < 180).sum() / 180
    peak = ((times > 240) & (times < 450)).sum() / 210

    assert before == pytest.approx(0.6 * RATE_PER_S, rel=0.1)
    assert peak == pytest.approx(2.4 * RATE_PER_S, rel=0.1)


def test_given_the_emulated_members_then_the_simulators_graph_has_their_times() -> None:
    found = read_graph(graph())

    assert tuple(LATENCY_S) == pipeline.ensemble.names
    for name, (fixed_s, per_row_s) in LATENCY_S.items():
        latency_s = found.stage(name).hardware[0].profile.latency_s(8)
        assert latency_s == pytest.approx(fixed_s + 8 * per_row_s)
    assert found.floor_s * 1e3 < SLO_MS / 2


def test_given_a_contender_then_only_the_static_peak_begins_with_what_will_come() -> None:
    times = arrivals("spike", 120.0, 1)
    first, busiest = opening("guidevane", times), opening("static_peak", times)

    assert peak(times) > 3 * rate(times)
    assert first == opening("ray", times)
    assert busiest[0]["deep"] > first[0]["deep"]


def test_given_a_trial_when_it_is_forecast_then_the_simulator_says_what_the_trial_measures() -> None:
    times = arrivals("step", 60.0, 1)
    quick, slow = (forecast("static_peak", times, way_ms) for way_ms in (10.0, 210.0))

    assert quick["miss"] <= 0.01
    assert quick["replica_seconds"] == pytest.approx(60 * sum(opening("static_peak", times)[0].values()), rel=0.02)
    assert slow["p99_ms"] - quick["p99_ms"] == pytest.approx(200, abs=1)


def test_given_a_rate_that_doubles_when_the_room_is_forecast_then_its_own_policy_launches_within_bounds() -> None:
    times = arrivals("step", 240.0, 1)
    replicas, batch = opening("guidevane", times)
    case = Case(read_graph(graph()), times, SLO_MS / 1e3, 0.01)
    room = Guided(site(most=6), case.graph, dict(replicas), batch)

    run = play(room, case)

    deep = run.replicas[:, case.graph.index["deep"]]
    assert deep[0] == replicas["deep"]
    assert replicas["deep"] < deep.max() <= 6
    assert any("Scale(member='deep'" in act for _, acts in room.decisions for act in acts)


def test_given_trials_that_were_played_then_they_are_told_beside_their_forecasts(tmp_path) -> None:
    run = {
        "events": 1000, "miss": 0.002, "outcomes": {"full": 990, "degraded": 10}, "seed": 1, "replica_seconds": 150.0,
        "cores_busy": 0.4,
        "latency_ms": {"p50": 700.0, "p99": 1500.0}, "idle_ms": {"p50": 340.0, "p99": 420.0}, "acts": {},
        "forecast": {"miss": 0.001, "p50_ms": 690.0, "p99_ms": 1350.0, "replica_seconds": 149.0},
        "about": {"commit": "abc"}, "timeline": [], "latency_timeline_ms": [],
    }  # fmt: skip
    for contender, replica_seconds in (("static_peak", 200.0), ("guidevane", 150.0)):
        path = trial_path(tmp_path, "step", contender, 60.0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run | {"replica_seconds": replica_seconds}))

    row = next(line for line in write(tmp_path, ["step", "spike"], ["static_peak", "guidevane"], 60.0).splitlines()
               if "guidevane" in line)  # fmt: skip
    assert [each.strip() for each in row.split("|")][1:-1] == [
        "step", "guidevane", "0.20%", "1.00%", "0.10%", "700", "690", "1500", "1350", "-10%", "150", "149", "75%",
        "340 / 420", "40%", "abc",
    ]  # fmt: skip
    assert (tmp_path / "step-60s.png").exists()


@pytest.mark.parametrize("contender", ["ray", "guidevane"])
def test_given_more_than_the_members_bear_when_it_is_forecast_then_who_goes_without_is_answered_by_the_deadline(
    contender,
) -> None:
    found = forecast(contender, arrivals("azure_code", 180.0, 1), 10.0)

    assert found["miss"] > 0.02
    assert 0 < found["p50_ms"] <= found["p99_ms"] == SLO_MS


def test_given_the_rooms_own_policy_when_an_event_is_shed_then_it_is_known_when() -> None:
    times = arrivals("azure_code", 180.0, 1)
    replicas, batch = opening("guidevane", times)
    case = Case(read_graph(graph()), times, SLO_MS / 1e3, 0.01)

    run = play(Guided(site(), case.graph, dict(replicas), batch), case)

    shed = np.isfinite(run.shed_s)
    assert shed.sum() == run.shed > 0
    assert np.isinf(run.latency_s[shed]).all()
    assert (run.shed_s[shed] > 0).all()
    # Most as soon as there is no time for the member, some only once the level knows of them.
    assert (run.shed_s[shed] < case.slo_s).mean() > 0.5
