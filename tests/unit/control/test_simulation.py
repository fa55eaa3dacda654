"""Given a graph and a trace, when it is simulated stage by stage, then each event ends when the event heap says."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.control.event_heap import EventHeap

from guidevane.control import queues
from guidevane.control.plant import Setting
from guidevane.control.reading import read_graph
from guidevane.control.simulation import Schedule, Simulation, Trace
from guidevane.control.table import Table

SLO_S = 0.12
FAN = read_graph(
    {
        "stages": {
            "in": {"latency_ms": {"1": 4, "8": 16}},
            "left": {"latency_ms": {"1": 15, "4": 30}},
            "right": {"hardware": {"slow": {"1": 30, "8": 60}, "fast": {"1": 9, "8": 20}}},
            "late": {"latency_ms": {"1": 60}},
            "vote": {"latency_ms": {"1": 2, "4": 6}},
            "extra": {"latency_ms": 20},
        },
        "edges": [
            *(["in", "left"], ["in", "right"], ["in", "late", 0.5]),
            *(["left", "vote"], ["right", "vote"], ["late", "vote"], ["vote", "extra", 0.3]),
        ],
        "quorum": {"vote": 2},
    }
)
TREE = read_graph(
    {
        "stages": {
            "id": {"latency_ms": {"1": 5, "4": 12}},
            "nmt": {"latency_ms": {"1": 25, "8": 50}},
            "lstm": {"latency_ms": {"1": 12, "8": 10}},
            "image": {"latency_ms": {"1": 20, "8": 60}},
            "svm": {"latency_ms": {"1": 3, "8": 5}},
        },
        "edges": [["id", "nmt", 0.3], ["id", "lstm", 0.6], ["nmt", "lstm"], ["lstm", "svm"], ["image", "svm"]],
        "exclusive": ["id"],
    }
)
TOPIC = read_graph(
    {
        "stages": {"pre": {"latency_ms": 6, "partitions": 12}, "model": {"latency_ms": {"1": 15, "8": 40}}},
        "edges": [["pre", "model"]],
    }
)


def trace_of(graph, seed: int, n: int, rate: float) -> Trace:
    gaps = np.random.default_rng(seed).gamma(0.5, 2 / rate, n)
    return Trace.draw(graph, np.cumsum(gaps), seed)


@st.composite
def cases(draw):
    graph = draw(st.sampled_from([FAN, TREE, TOPIC]))
    trace = trace_of(
        graph, draw(st.integers(0, 10_000)), draw(st.integers(1, 80)), draw(st.sampled_from([20, 80, 200]))
    )
    chosen = []
    for stage in graph.stages:
        hardware = draw(st.sampled_from(stage.hardware))
        wait_s = draw(st.sampled_from([0.0, 0.0, 0.007]))
        batch = draw(st.integers(1, hardware.profile.most))
        chosen.append(Setting(hardware.name, draw(st.integers(1, 5)), batch, wait_s))
    return graph, trace, chosen, draw(st.booleans())


@given(cases())
@settings(max_examples=60, deadline=None)
def test_every_event_ends_when_the_event_heap_says(case):
    graph, trace, chosen, drop = case

    outcome = Simulation(graph, trace, SLO_S).run(chosen, drop=drop)

    assert outcome.latencies_s.tolist() == EventHeap(graph, trace, SLO_S, chosen, drop=drop).run()


@given(st.integers(0, 10_000), st.lists(st.tuples(st.floats(0, 1.5), st.integers(-2, 3)), max_size=6))
@settings(max_examples=30, deadline=None)
def test_replicas_that_come_and_go_serve_as_in_the_event_heap(seed, changes):
    times = sorted({round(time, 3) for time, _ in changes})
    replicas, now, there = [], 2, []
    for _, (_, step) in zip(times, changes, strict=False):
        there.append(max(step, -now))
        now += there[-1]
        replicas.append(now)
    schedule = Schedule(tuple(times), tuple(there))
    trace = trace_of(TREE, seed, 80, 60)
    chosen = [Setting("default", 2, 4) for _ in TREE.stages]
    chosen[4] = Setting("default", 2, 8)
    schedules = [schedule if at == 4 else Schedule() for at in range(5)]

    outcome = Simulation(TREE, trace, SLO_S).run(chosen, schedules=schedules)

    assert outcome.latencies_s.tolist() == EventHeap(TREE, trace, SLO_S, chosen).run(schedules)


def test_a_run_that_stops_early_says_what_a_whole_run_would_have_shown():
    trace = trace_of(TREE, 3, 3000, 150)
    starved = [Setting("default", 1, 4) for _ in TREE.stages]
    simulation = Simulation(TREE, trace, SLO_S)

    stopped, whole = simulation.run(starved, limit=30), simulation.run(starved)

    assert stopped.stopped
    assert stopped.missed == 31 < whole.missed
    assert whole.quantile_s(0.99) > SLO_S


def test_a_quorum_makes_no_event_late_that_its_members_are_late_for():
    chosen = [Setting("fast" if name == "right" else "default", 4, 1) for name in FAN.names]
    starved = [
        Setting(each.hardware, 1, 1) if name == "late" else each for name, each in zip(FAN.names, chosen, strict=True)
    ]
    trace = trace_of(FAN, 5, 2000, 60)
    simulation = Simulation(FAN, trace, SLO_S)

    assert simulation.run(starved, limit=20).missed == simulation.run(chosen).missed == 0


def test_what_was_run_before_is_remembered_and_changes_nothing():
    trace = trace_of(TREE, 4, 500, 80)
    simulation, forgetful = Simulation(TREE, trace, SLO_S), Simulation(TREE, trace, SLO_S, remember_bytes=1)
    for replicas in (2, 3, 2, 4, 2):
        chosen = [Setting("default", 3, 4)] * 3 + [Setting("default", replicas, 4), Setting("default", 2, 4)]

        kept, fresh = simulation.run(chosen), forgetful.run(chosen)

        assert kept.latencies_s.tolist() == fresh.latencies_s.tolist()


@given(cases(), st.data())
@settings(max_examples=60, deadline=None)
def test_given_other_batches_before_when_it_is_asked_again_then_as_many_miss_as_if_it_was_asked_first(case, data):
    graph, trace, chosen, drop = case
    simulation, forgetful = (Simulation(graph, trace, SLO_S, remember_bytes=size) for size in (1 << 20, 1))
    for _ in range(4):
        other = [
            replace(each, batch=data.draw(st.integers(1, stage.on(each.hardware).profile.most)))
            for stage, each in zip(graph.stages, chosen, strict=True)
        ]
        first = Simulation(graph, trace, SLO_S).run(other, drop=drop)

        assert simulation.missed(other, drop=drop) == forgetful.missed(other, drop=drop) == first.missed
        assert simulation.run(other, drop=drop).latencies_s.tolist() == first.latencies_s.tolist()


def test_given_batches_that_were_never_full_then_larger_ones_are_not_simulated_again(monkeypatch):
    simulation, passes, serve = Simulation(TREE, trace_of(TREE, 4, 500, 5), SLO_S), [], queues.serve
    monkeypatch.setattr(queues, "serve", lambda *told: passes.append(told) or serve(*told))
    small, large = ([Setting("default", 9, batch)] * 4 + [Setting("default", 9, 5)] for batch in (3, 4))
    missed = simulation.missed(small)
    assert len(passes) == 5

    assert simulation.missed(large) == missed
    assert len(passes) == 5


def test_without_arrivals_nobody_misses():
    trace = Trace.draw(TREE, np.array([]), 1)
    outcome = Simulation(TREE, trace, SLO_S).run([Setting("default", 1, 1)] * 5)

    assert (outcome.missed, outcome.miss, outcome.quantile_s(0.99)) == (0, 0.0, 0.0)


def test_a_batch_that_was_never_measured_is_refused():
    with pytest.raises(ValueError, match="batch 9 was never measured, at most 4"):
        Simulation(TREE, trace_of(TREE, 1, 5, 10), SLO_S).run([Setting("default", 1, 9)] * 5)


def test_given_a_smaller_batch_that_was_never_full_then_one_that_was_never_measured_is_refused_all_the_same():
    simulation = Simulation(TREE, trace_of(TREE, 1, 5, 1), SLO_S)
    simulation.missed([Setting("default", 9, 4)] * 5)

    with pytest.raises(ValueError, match="batch 9 was never measured, at most 4"):
        simulation.missed([Setting("default", 9, 9)] * 5)


def test_a_table_that_nobody_needs_goes_at_once_with_all_that_was_simulated_for_it():
    graph = read_graph({"stages": {"m": {"latency_ms": {"1": 5, "8": 20}}}, "edges": []})
    table = Table(graph, 0.3, 0.01, (graph.stages[0].hardware[0].name,))
    table.row(20.0, 1.0)
    gone = weakref.ref(table)
    gc.disable()
    try:
        del table
        assert gone() is None
    finally:
        gc.enable()
