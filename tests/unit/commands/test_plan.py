"""What an objective costs, asked at the command line."""

import json

import pytest
from typer.testing import CliRunner

from guidevane.cli import app
from guidevane.errors import Misconfigured

GRAPH = {
    "stages": {
        "read": {"latency_ms": {"1": 2.0, "8": 9.0}, "price_usd_per_hour": 0.1},
        "a": {"latency_ms": {"1": 20.0, "8": 60.0}, "accuracy": 0.9},
        "b": {"latency_ms": {"1": 30.0, "8": 90.0}, "accuracy": 0.8},
        "join": {"latency_ms": {"1": 1.0, "32": 8.0}, "price_usd_per_hour": 0.1},
    },
    "edges": [["read", "a"], ["read", "b"], ["a", "join"], ["b", "join"]],
    "quorum": {"join": 1},
}


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(GRAPH))
    return path


@pytest.fixture
def planned(graph, tmp_path):
    answer = run("plan", graph, "--slo", "200ms", "--rate", 50, "--json")
    assert answer.exit_code == 0
    path = tmp_path / "plan.json"
    path.write_text(answer.stdout)
    return path


def test_a_plan_says_what_to_run_what_it_costs_and_whether_that_is_proved(graph):
    said = run("plan", graph, "--slo", "200ms", "--rate", 50).stdout
    assert "proved the cheapest" in said
    assert all(name in said for name in GRAPH["stages"])
    assert "USD an hour" in said


def test_a_plan_keeps_its_objective_and_a_tighter_one_costs_no_less(graph):
    loose, tight = (
        json.loads(run("plan", graph, "--slo", slo, "--rate", 50, "--json").stdout) for slo in ("400ms", "60ms")
    )
    assert loose["miss"] <= 0.01
    assert tight["miss"] <= 0.01
    assert tight["usd_per_hour"] >= loose["usd_per_hour"]
    assert all(each["replicas"] >= 1 and each["busy"] <= 0.98 for each in tight["settings"].values())


def test_a_recording_is_planned_for_as_it_is(graph, tmp_path):
    recording = tmp_path / "arrivals.csv"
    recording.write_text("".join(f"{n / 50:.3f}\n" for n in range(3000)))
    found = json.loads(run("plan", graph, "--slo", "200ms", "--arrivals", recording, "--json").stdout)
    assert found["miss"] == 0
    assert found["asked"]["arrivals"] == str(recording)


@pytest.mark.parametrize("events", [1, 10])
def test_a_recording_too_short_to_tell_a_share_is_planned_so_that_nobody_is_late(graph, tmp_path, events):
    recording = tmp_path / "arrivals.csv"
    recording.write_text("".join(f"{1000 + n / 5:.3f}\n" for n in range(events)))

    found = json.loads(run("plan", graph, "--slo", "200ms", "--arrivals", recording, "--json").stdout)

    assert found["miss"] == 0
    assert [each["replicas"] for each in found["settings"].values()] == [1, 1, 1, 1]


def test_a_share_far_below_one_in_a_thousand_can_be_planned_for(graph):
    some, few = (
        json.loads(run("plan", graph, "--slo", "200ms", "--rate", 50, "--epsilon", share, "--json").stdout)
        for share in (0.01, 0.0002)
    )
    assert few["miss"] <= 0.0002
    assert few["usd_per_hour"] >= some["usd_per_hour"]


def test_a_curve_says_what_objectives_cost_and_which_cannot_be_kept(graph):
    found = json.loads(run("plan", graph, "--slo", "60ms", "--rate", 20, "--curve", "--json").stdout)
    costs = [point["usd_per_hour"] for point in found["curve"]]
    assert costs[0] is None
    kept = [cost for cost in costs if cost is not None]
    assert kept == sorted(kept, reverse=True)


def test_what_if_tells_what_becomes_of_the_plan_and_what_the_plan_would_be(planned):
    found = json.loads(run("whatif", planned, "--rate", "x4", "--slo", "100ms", "--json").stdout)
    assert found["as_it_is"]["miss"] > 0.01
    assert found["then"]["miss"] <= 0.01
    assert found["then"]["usd_per_hour"] > found["as_it_is"]["usd_per_hour"]


def test_nothing_changed_changes_nothing(planned):
    found = json.loads(run("whatif", planned, "--json").stdout)
    assert found["as_it_is"]["settings"] == found["then"]["settings"]


def test_a_member_that_is_dropped_is_in_neither_and_costs_nothing(planned):
    found = json.loads(run("whatif", planned, "--drop", "b", "--json").stdout)
    assert "b" not in found["then"]["settings"]
    assert found["then"]["usd_per_hour"] < json.loads(planned.read_text())["usd_per_hour"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--slo", "200", "--rate", "50"], "'200' is no duration → write 300ms"),
        (["--slo", "200ms"], "a plan is for a rate or for a recording → write --rate"),
        (["--slo", "200ms", "--rate", "-1"], "is none → write --rate"),
        (["--slo", "200ms", "--rate", "5", "--epsilon", "2"], "no share of events"),
        (["--slo", "200ms", "--rate", "5", "--epsilon", "1e-9"], "write 6e-05 or more"),
        (["--slo", "20ms", "--rate", "5"], "below the floor of the critical path"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_way_out(graph, arguments, says):
    refused = run("plan", graph, *arguments).exception
    assert isinstance(refused, Misconfigured)
    assert says in str(refused)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--drop", "read"], "cannot be dropped: an event needs it → one of: "),
        (["--drop", "deep"], "there is no stage 'deep' → one of: read, a, b, join"),
        (["--drop", "a", "--drop", "b"], "would be left → drop fewer"),
        (["--rate", "twice"], "'twice' is no rate → write 240"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_what_would(planned, arguments, says):
    refused = run("whatif", planned, *arguments).exception
    assert isinstance(refused, Misconfigured)
    assert says in str(refused)


def test_a_stage_with_brackets_in_its_name_is_shown_by_it(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"stages": {"[/b]": {"hardware": {"[red]": {"1": 12.0}}}}}))
    answer = run("plan", path, "--slo", "200ms", "--rate", 5)
    assert answer.exception is None
    assert "[/b]" in answer.stdout
    assert "[red]" in answer.stdout


def test_a_graph_with_a_stage_twice_is_refused(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text('{"stages": {"m": {"latency_ms": {"1": 12}}, "m": {"latency_ms": {"1": 13}}}}')
    refused = run("plan", path, "--slo", "200ms", "--rate", 5).exception
    assert isinstance(refused, Misconfigured)
    assert "'m' stands twice in one object → write each name once" in str(refused)


def test_what_is_no_plan_is_refused_with_how_to_make_one(graph):
    refused = run("whatif", graph).exception
    assert "is no plan → guidevane plan" in str(refused)


def test_given_several_objectives_then_each_has_its_cost_and_the_plot_is_drawn(graph, tmp_path):
    plot = tmp_path / "cost.svg"
    answer = run("plan", graph, "--slo", "200ms,60ms,1ms", "--rate", 50, "--json", "--plot", plot)
    said = json.loads(answer.stdout)
    assert said["asked"]["slo_ms"] == 200
    assert [each["slo_ms"] for each in said["curve"]] == [200, 60, 1]
    assert said["curve"][2]["usd_per_hour"] is None
    assert plot.read_text().startswith("<svg")


def test_given_a_first_objective_that_nothing_keeps_then_what_the_others_cost_is_told_before_the_refusal(graph):
    refused = run("plan", graph, "--slo", "1ms,200ms", "--rate", 50, "--json")
    said = json.loads(refused.stdout)
    assert "below the floor" in said["infeasible"]
    assert [each["usd_per_hour"] is None for each in said["curve"]] == [True, False]
    assert "below the floor" in str(refused.exception)


@pytest.mark.parametrize("scv", ["nan", "inf", "-1"])
def test_a_burstiness_that_is_no_number_is_refused(graph, scv):
    refused = run("plan", graph, "--slo", "200ms", "--rate", 50, "--scv", scv).exception
    assert "is none → write 0 for a metronome" in str(refused)


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        (("settings", "a", "hardware"), "tpu", "has no hardware 'tpu' → one of: "),
        (("settings", "a", "batch"), None, "settings.a.batch is None → write 1 to 8"),
        (("settings", "a", "batch"), 9, "settings.a.batch is 9 → write 1 to 8"),
        (("settings", "a", "replicas"), 0, "settings.a.replicas is 0 → write 1 or more"),
        (("settings", "a", "replicas"), "two", "settings.a.replicas is 'two' → write 1 or more"),
        (("settings", "a"), [], "settings.a is [] → write"),
        (("asked",), [], "asked is [] → write the plan again"),
        (("asked", "epsilon"), None, "asked.epsilon is None, no number"),
        (("asked", "slo_ms"), "80", "asked.slo_ms is '80', no number"),
        (("asked", "rate_per_s"), "80", "asked.rate_per_s is '80', no number"),
        (("asked", "arrivals"), 3, "asked.arrivals is 3, no path"),
    ],
)
def test_a_plan_that_somebody_has_spoilt_is_refused_with_the_place(planned, part, value, says):
    plan = json.loads(planned.read_text())
    *folders, last = part
    inner = plan
    for name in folders:
        inner = inner[name]
    inner[last] = value
    planned.write_text(json.dumps(plan))
    refused = run("whatif", planned).exception
    assert isinstance(refused, Misconfigured)
    assert says in str(refused)
