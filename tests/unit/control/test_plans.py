"""What is planned before anything is known."""

from __future__ import annotations

import pytest

from guidevane.control.belief import Memory
from guidevane.control.hardware import Choice
from guidevane.control.plans import Plans
from guidevane.control.profile import Correction
from guidevane.control.reading import read_graph
from guidevane.control.table import ANCHOR, STEP

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


TWO_KINDS = read_graph(
    {
        "stages": {
            "deep": {
                "hardware": {
                    "slow": {"latency_ms": {"1": 34, "8": 133}, "price_usd_per_hour": 0.7},
                    "fast": {"latency_ms": {"1": 9.5, "8": 34}, "price_usd_per_hour": 2.0},
                }
            }
        }
    }
)


def regretted(per_s: float) -> float:
    """What ten minutes on the slow hardware are regretted at a rate, in $, where a start-up costs far more."""
    memory = Memory(corrections=(Correction(),), choice=Choice(("slow",)), dispersion=1.0)
    choice = Plans(TWO_KINDS, 0.3, 0.005).chosen(memory, per_s, 600.0, startup_s=1e6)
    return dict(choice.regrets).get(("fast",), 0.0)


def test_given_a_rate_a_little_above_an_anchor_hardware_is_not_regretted_as_at_the_next_one_a_third_above():
    anchor = STEP**64

    assert regretted(anchor * STEP**ANCHOR) > 0
    assert regretted(anchor * STEP**0.1) == pytest.approx(regretted(anchor), abs=0.1 * regretted(anchor * STEP**ANCHOR))
