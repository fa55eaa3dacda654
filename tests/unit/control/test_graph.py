"""Given a graph in JSON, when it is read, then it means what was meant, or its mistakes say what to write."""

from __future__ import annotations

import numpy as np
import pytest

from guidevane.control.graph import Graph
from guidevane.control.reading import read_graph
from guidevane.errors import Misconfigured

TABLE = {"1": 10.0, "4": 25.0}


def stages(*names: str) -> dict:
    return {name: {"latency_ms": TABLE} for name in names}


def social() -> Graph:
    return read_graph(
        {
            "stages": stages("language_id", "nmt", "lstm", "inception", "svm"),
            "edges": [
                ["language_id", "nmt", 0.3],
                ["language_id", "lstm", 0.7],
                ["nmt", "lstm"],
                ["lstm", "svm"],
                ["inception", "svm"],
            ],
            "exclusive": ["language_id"],
        }
    )


@pytest.mark.parametrize(
    "stage",
    [
        {"latency_ms": TABLE, "price_usd_per_hour": 0.7, "startup_s": 5},
        {"hardware": {"latency_ms": TABLE, "price_usd_per_hour": 0.7, "startup_s": 5}},
        {"hardware": TABLE, "price_usd_per_hour": 0.7, "startup_s": 5},
        {"hardware": {"k80": TABLE}, "price_usd_per_hour": {"k80": 0.7}, "startup_s": {"k80": 5}},
        {"hardware": {"k80": {"latency_ms": TABLE, "price_usd_per_hour": 0.7, "startup_s": 5}}, "startup_s": 9},
        {"hardware": "k80", "latency_ms": TABLE, "price_usd_per_hour": 0.7, "startup_s": 5},
        {"latency_ms": {"k80": TABLE}, "price_usd_per_hour": 0.7, "startup_s": 5},
        {"hardware": {"4090": TABLE}, "price_usd_per_hour": 0.7, "startup_s": 5},
        {"hardware": {"4090": {**TABLE, "price_usd_per_hour": 0.7, "startup_s": 5}}},
        {"hardware": {**TABLE, "price_usd_per_hour": 0.7, "startup_s": 5}},
    ],
)
def test_a_stage_may_be_written_in_any_of_the_documented_ways(stage):
    hardware = read_graph({"stages": {"a": stage}}).stages[0].hardware[0]

    assert hardware.profile.points == ((1, 0.01), (4, 0.025))
    assert (hardware.price_usd_per_hour, hardware.startup_s) == (0.7, 5)


def test_what_a_graph_leaves_open_has_the_documented_default():
    graph = read_graph({"stages": {"b": {"latency_ms": TABLE}, "a": {"latency_ms": 7}}, "edges": [["a", "b"]]})

    assert read_graph({"stages": stages("a")}).visits == (1.0,)
    assert graph.names == ("a", "b")
    assert graph.hop_s == 0.004
    assert graph.stages[0].hardware[0].profile.points == ((1, 0.007),)
    assert (graph.stages[0].hardware[0].price_usd_per_hour, graph.stages[0].hardware[0].startup_s) == (1.0, 20.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"edges": [["a", "b"], ["b", "a"]]}, r"edges: a circle among a, b → take out an edge"),
        ({"edges": [["a", "bb"]]}, r"edges\[0\]: there is no stage 'bb' → write 'b'"),
        ({"edges": [["a", "b", 1.5]]}, r"edges\[0\]: 1.5 is out of bounds → write 0 to 1"),
        ({"edges": [["a", "b"], ["a", "b", 0.3]]}, r"edges\[1\]: a → b is there already"),
        ({"edges": [["a"]]}, r"edges\[0\]: \['a'\] is no edge → write"),
        (
            {"edges": [["a", "b", 0.6], ["a", "c", 0.6]], "exclusive": ["a"]},
            r"exclusive a: .* sum to 1.2 → write shares",
        ),
        ({"exclusive": ["aa"]}, r"exclusive\[0\]: there is no stage 'aa' → write 'a'"),
        ({"edges": [["a", "c"], ["b", "c"]], "quorum": {"c": 3}}, r"quorum.c: waits for 3, but 2 .* at most 2"),
        ({"quorum": {"x": 1}}, r"quorum.x: there is no stage 'x'"),
        ({"price_usd_per_hour": -1}, r"^price_usd_per_hour: -1 is out of bounds → write 0 or more"),
        ({"startup_s": {"default": "9"}}, r"^startup_s.default: '9' is no number → write a number such as"),
        ({"hop_ms": 10**400}, r"^hop_ms: 1000.* is no number"),
        ({"stages": {"a": {"latency_ms": {"1": 10**400}}}}, r"the latency of batch 1 is 1000.* → write milliseconds"),
        ({"edges": [["a", "c"], ["b", "c"]], "quorum": {"c": 1.5}}, r"quorum.c: 1.5 is no number of edges"),
        ({"stages": {"a": {"latency_ms": TABLE, "startup_s": -2}}}, r"^stages.a.startup_s: -2 is out of bounds"),
        (
            {"stages": {"a": {"hardware": {"k80": {"latency_ms": TABLE, "jitter": -2}}}}},
            r"^stages.a.hardware.k80.jitter: -2 is out of bounds",
        ),
        ({"hop_ms": -1}, r"hop_ms: -1 is out of bounds → write 0 or more"),
        ({"stages": {"a": {"latency_ms": {"1": -3}}}}, r"stages.a.latency_ms: the latency of batch 1 is -3 ms → write"),
        ({"stages": {"a": {"latency_ms": {"one": 3}}}}, r"stages.a.latency_ms: batch size 'one' .* → write"),
        ({"stages": {"a": {}}}, r"stages.a: has no latency → write stages.a.latency_ms"),
        ({"stages": {"a": {"latency": TABLE, "latency_ms": TABLE}}}, r"stages.a.latency: .* → write 'latency_ms'"),
        (
            {"stages": {"a": {"latency_ms": TABLE, "hardware": {"k80": TABLE}}}},
            r"^stages.a.latency_ms: stands beside a table of hardware, .* → write it into stages.a.hardware",
        ),
        (
            {"stages": {"a": {"hardware": {"latency_ms": TABLE, "k80": TABLE}}}},
            r"^stages.a.hardware.k80: stands beside",
        ),
        (
            {"stages": {"a": {"hardware": {"k80": {"latency_ms": TABLE, "8": 40.0}}}}},
            r"^stages.a.hardware.k80.8: stands beside latency_ms, and is not read → take one of them out",
        ),
        ({"qorum": {}}, r"qorum: there is no such field → write 'quorum'"),
        ({"stages": {}}, r"stages: a graph has stages by name → write"),
    ],
)
def test_a_mistake_is_named_with_what_to_write_instead(change, says):
    with pytest.raises(Misconfigured, match=says):
        read_graph({"stages": stages("a", "b", "c"), **change})


def test_a_quorum_may_be_spelt_as_a_float():
    graph = read_graph({"stages": stages("a", "b", "c"), "edges": [["a", "c"], ["b", "c"]], "quorum": {"c": 1.0}})

    assert (
        graph.quorum
        == read_graph({"stages": stages("a", "b", "c"), "edges": [["a", "c"], ["b", "c"]], "quorum": {"c": 1}}).quorum
    )


def test_all_mistakes_are_told_at_once():
    with pytest.raises(Misconfigured) as told:
        read_graph({"stages": stages("a"), "edges": [["a", "x"]], "hop_ms": "4"})

    assert len(str(told.value).splitlines()) == 2


def test_alternatives_and_joins_give_the_visits_that_the_draws_give():
    graph = social()

    assert graph.visits == pytest.approx((1, 0.3, 1, 1, 1))
    taken = graph.take(np.random.default_rng(1).random((5, 20_000)))
    assert (taken[0] ^ taken[1]).all()
    assert taken[0].mean() == pytest.approx(0.3, abs=0.02)
    assert (taken[2] == taken[0]).all()


def test_independent_edges_may_both_be_taken_or_neither():
    graph = read_graph(
        {"stages": stages("a", "b", "c", "d"), "edges": [["a", "b", 0.5], ["a", "c", 0.5], ["b", "d"], ["c", "d"]]}
    )

    assert graph.visits == pytest.approx((1, 0.5, 0.5, 0.75))
    assert graph.may_end("a")
    assert not graph.may_end("b")


def test_the_longest_way_counts_and_a_quorum_goes_on_with_its_fastest():
    graph = read_graph(
        {
            "stages": {
                "a": {"latency_ms": 10},
                "b": {"latency_ms": 20},
                "c": {"latency_ms": 90},
                "d": {"latency_ms": 1},
            },
            "edges": [["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"]],
            "hop_ms": 2,
        }
    )
    voted = Graph(graph.stages, graph.edges, graph.exclusive, graph.hop_s, {"d": 1})

    assert graph.floor_s == pytest.approx(0.105)
    assert voted.floor_s == pytest.approx(0.035)
    assert graph.rest_s([0.01, 0.02, 0.09, 0.001]) == pytest.approx((0.105, 0.023, 0.093, 0.001))


def test_members_go_least_worth_first_and_never_below_the_quorum():
    graph = read_graph(
        {
            "stages": {
                "a": {"latency_ms": 1},
                "slow": {"latency_ms": 90},
                "quick": {"latency_ms": 20},
                "good": {"latency_ms": 90, "accuracy": 5},
                "vote": {"latency_ms": 1},
            },
            "edges": [["a", m] for m in ("slow", "quick", "good")] + [[m, "vote"] for m in ("slow", "quick", "good")],
            "quorum": {"vote": 2},
        }
    )

    assert graph.members == ("slow", "quick", "good")
    assert graph.levels == 2
    assert graph.at_level(7).names == ("a", "quick", "good", "vote")
