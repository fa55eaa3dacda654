"""Given options for each stage and ways through a graph, when they are chosen from, then the cheapest come first."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.control.budgets import Choices, Option, Way, bounding, usual
from guidevane.control.plant import Setting
from guidevane.control.reading import read_graph

SLO_S = 0.1
PRICES = st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.9])
TIMES = st.integers(1, 60).map(lambda ms: ms / 1e3)


@st.composite
def problems(draw):
    stages = draw(st.integers(1, 5))
    options = [
        [Option(Setting(f"{at}{n}", 1, 1), draw(PRICES), draw(TIMES)) for n in range(draw(st.integers(1, 3)))]
        for at in range(stages)
    ]
    on = st.sets(st.integers(0, stages - 1), min_size=1).map(lambda places: tuple(sorted(places)))
    ways = draw(st.lists(st.builds(Way, on, st.sampled_from([0.04, 0.08, SLO_S])), max_size=3))
    return options, ways


def fits(chosen, ways) -> bool:
    return all(sum(chosen[at].latency_s for at in way.stages) <= way.left_s + 1e-9 for way in ways)


@given(problems())
@settings(max_examples=60)
def test_all_choices_that_fit_come_once_and_the_cheapest_first(problem):
    options, ways = problem
    choices = Choices(options, ways)

    told = list(choices)

    costs = [usd for usd, _ in told]
    assert costs == pytest.approx([sum(each.usd_per_hour for each in chosen) for _, chosen in told])
    assert all(later >= earlier for earlier, later in pairwise(costs))
    names = [tuple(each.setting.hardware for each in chosen) for _, chosen in told]
    expected = {tuple(each.setting.hardware for each in chosen) for chosen in product(*options) if fits(chosen, ways)}
    assert len(names) == len(set(names))
    assert set(names) == expected
    assert choices.bound_usd == math.inf


@given(problems(), st.integers(1, 12))
@settings(max_examples=60)
def test_who_stops_early_says_what_the_rest_costs_at_least(problem, most):
    options, ways = problem
    choices = Choices(options, ways, most=most)

    told = {tuple(each.setting.hardware for each in chosen) for _, chosen in choices}

    untold = [
        sum(each.usd_per_hour for each in chosen)
        for chosen in product(*options)
        if fits(chosen, ways) and tuple(each.setting.hardware for each in chosen) not in told
    ]
    assert all(choices.bound_usd <= usd + 1e-8 for usd in untold)


def forked(quorum: dict[str, int] | None = None):
    stages = {name: {"latency_ms": {"1": ms}} for name, ms in {"in": 5, "a": 10, "b": 20, "c": 30, "out": 5}.items()}
    edges = [["in", "a"], ["in", "b"], ["in", "c", 0.015], ["a", "out"], ["b", "out"], ["c", "out"]]
    return read_graph({"stages": stages, "edges": edges, "hop_ms": 4, "quorum": quorum or {}})


def named(graph, ways):
    return {tuple(graph.names[at] for at in way.stages): pytest.approx(way.left_s) for way in ways}


def test_a_way_that_few_events_go_binds_nobody():
    graph = forked()

    assert named(graph, bounding(graph, SLO_S, 0.02)) == {("in", "a", "out"): 0.092, ("in", "b", "out"): 0.092}
    assert ("in", "c", "out") in named(graph, bounding(graph, SLO_S, 0.01))


def test_nobody_need_wait_for_what_leads_to_a_quorum_and_usually_its_fastest_are_waited_for():
    graph = forked({"out": 1})

    assert named(graph, bounding(graph, SLO_S, 0.02)) == {("out",): SLO_S}
    assert ("in", "a", "out") in named(graph, usual(graph, SLO_S, 0.02))
    assert ("in", "b", "out") not in named(graph, usual(graph, SLO_S, 0.02))
