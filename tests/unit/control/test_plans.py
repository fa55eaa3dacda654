"""What is planned before anything is known."""

from __future__ import annotations

import pytest

from guidevane.control.belief import Memory
from guidevane.control.plans import Plans
from guidevane.control.profile import Correction
from guidevane.control.reading import read_graph

GRAPH = read_graph(
    {"stages": {"quick": {"latency_ms": {"1": 2, "64": 20}}, "deep": {"latency_ms": {"1": 20}}}, "edges": []}
)


@pytest.mark.parametrize("slo_s", [0.4, 0.001])
def test_given_stages_of_one_hardware_each_the_opening_is_what_weighing_would_give_and_plans_nothing(slo_s):
    plans = Plans(GRAPH, slo_s, 0.01)
    memory = Memory(corrections=tuple(Correction() for _ in GRAPH.stages))

    choice = plans.opening(memory, 20.0)

    assert plans._tables == {}
    assert plans._candidates(memory, 20.0) == (choice.kinds,)
