"""Given a pipeline as its controller knows it, when somebody asks what if, then its own past is simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guidevane.control.asking import Live, whatif
from guidevane.control.plant import Setting
from guidevane.control.reading import read_graph
from guidevane.errors import Misconfigured

GRAPH = read_graph(
    {
        "stages": {
            "ingest": {"latency_ms": {"1": 1, "64": 3}, "partitions": 1},
            "deep": {"latency_ms": {"1": 12, "64": 75}},
            "trees": {"latency_ms": {"1": 5, "64": 20}},
        },
        "edges": [["ingest", "deep"], ["ingest", "trees"]],
    }
)
LIVE = Live(
    graph=GRAPH,
    slo_s=0.15,
    epsilon=0.01,
    settings=(Setting("default", 1, 64), Setting("default", 1, 32), Setting("default", 1, 32)),
    rate_per_s=100.0,
    dispersion=1.0,
    halves=tuple(np.random.default_rng(3).poisson(50, 120).tolist()),
    together={"deep": {"deep": (0.008, 0.0007), "wide": (0.003, 0.0003)}, "trees": {"trees": (0.005, 0.0002)}},
    cpus=2.0,
    cpus_of={"deep": 1.0, "trees": 1.0},
)


def test_given_nothing_that_changes_then_it_keeps_what_it_keeps_on_recorded_arrivals() -> None:
    found = whatif(LIVE)

    assert found["asked"]["arrivals"] == "recorded"
    assert found["asked"]["rate_per_s"] == pytest.approx(100, rel=0.1)
    assert found["as_it_is"]["miss"] <= 0.01
    assert found["then"]["miss"] <= 0.01


def test_given_many_times_the_traffic_then_more_replicas_are_told_and_that_they_cannot_be_had() -> None:
    found = whatif(LIVE, rate="x20", slo="120ms")

    assert found["as_it_is"]["miss"] > 0.5
    assert found["then"]["settings"]["deep"]["replicas"] > 2
    assert "2 are allowed" in found["then"]["beyond"]


def test_given_a_member_that_is_dropped_then_those_beside_it_get_quicker_and_one_alone_is_gone() -> None:
    beside, alone = whatif(LIVE, drop=["deep"]), whatif(LIVE, drop=["trees"])

    assert set(beside["then"]["settings"]) == {"ingest", "deep", "trees"}
    assert beside["as_it_is"]["settings"]["deep"]["busy"] < whatif(LIVE)["as_it_is"]["settings"]["deep"]["busy"] / 2
    assert set(alone["then"]["settings"]) == {"ingest", "deep"}


def test_given_an_objective_below_the_floor_then_it_says_so() -> None:
    assert "below the floor" in whatif(LIVE, slo="10ms")["then"]["infeasible"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"slo": "soon"}, "'soon' is no duration → write 300ms"),
        ({"rate": "xx"}, "'xx' is no rate → write 240"),
        ({"drop": ["deeb"]}, "there is no member 'deeb'"),
        ({"drop": ["deep", "wide", "trees"]}, "the quorum is 1, and 0 members would be left"),
    ],
)
def test_given_a_question_that_makes_no_sense_then_it_says_what_would(asked, says) -> None:
    with pytest.raises(Misconfigured, match=says):
        whatif(LIVE, **asked)


def test_given_events_in_heaps_then_arrivals_are_drawn_as_half_seconds_do_not_tell_them() -> None:
    found = whatif(replace(LIVE, dispersion=64.0))

    assert found["asked"]["arrivals"] == "drawn"
    assert found["as_it_is"]["p99_ms"] > 2 * whatif(LIVE)["as_it_is"]["p99_ms"]


def test_given_hardly_any_traffic_then_arrivals_are_drawn() -> None:
    assert whatif(replace(LIVE, halves=(1, 0, 2)))["asked"]["arrivals"] == "drawn"


def test_given_fetches_that_wait_for_company_then_events_are_told_to_be_that_much_later() -> None:
    waits = replace(LIVE, wait_s=0.05)
    at_once, waiting = whatif(LIVE)["as_it_is"], whatif(waits)["as_it_is"]

    assert waiting["p99_ms"] >= at_once["p99_ms"] + 50
    assert waiting["fetch_wait_ms"] == 50
    assert whatif(waits, slo="70ms")["as_it_is"]["miss"] > 0.5


def test_given_a_tighter_objective_then_the_plan_is_for_the_shorter_wait_that_it_brings() -> None:
    found = whatif(replace(LIVE, wait_s=0.05), slo="100ms", rate="10")

    assert found["then"]["fetch_wait_ms"] == 12
    assert found["then"]["p99_ms"] < found["as_it_is"]["p99_ms"]


def test_given_a_measured_percentile_above_the_simulated_one_then_the_rest_is_told_of_every_answer() -> None:
    simulated = whatif(LIVE)["as_it_is"]["p99_ms"]
    slow = replace(LIVE, usual_p99_s=simulated * 1.4 / 1e3)
    found, dropped = whatif(slow), whatif(slow, drop=["trees"])

    assert found["as_it_is"]["p99_ms"] == pytest.approx(simulated * 1.4, rel=0.01)
    assert found["asked"]["unexplained_ms"] == pytest.approx(simulated * 0.4, rel=0.01)
    unmeasured = whatif(LIVE, drop=["trees"])["as_it_is"]["p99_ms"]
    assert dropped["as_it_is"]["p99_ms"] == pytest.approx(unmeasured + simulated * 0.4, rel=0.01)


@pytest.mark.parametrize(("measured", "told"), [(0.3, 1.0), (7.0, 2.0)])
def test_given_a_percentile_below_the_simulated_or_of_what_is_over_then_it_is_not_believed(measured, told) -> None:
    simulated = whatif(LIVE)["as_it_is"]["p99_ms"]

    found = whatif(replace(LIVE, usual_p99_s=simulated * measured / 1e3))

    assert found["as_it_is"]["p99_ms"] == pytest.approx(simulated * told, rel=0.01)


def test_given_more_that_runs_than_may_be_had_then_to_keep_it_is_not_refused() -> None:
    assert "beyond" not in whatif(replace(LIVE, cpus=1.0))["then"]
    assert "1 are allowed" in whatif(replace(LIVE, cpus=1.0), rate="x20", slo="120ms")["then"]["beyond"]
