"""Given the live bench's arrivals and members, then they are what the bench says they are."""

from __future__ import annotations

import numpy as np
import pytest
from loadtests.live.emulated import LATENCY_S, SLO_MS, graph, pipeline
from loadtests.live.workloads import RATE_PER_S, arrivals

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
