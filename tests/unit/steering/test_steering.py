"""The command, from files to figures."""

import json

import numpy as np
import pytest
from loadtests.steering import policies, scores, workloads
from loadtests.steering.__main__ import main
from loadtests.steering.case import Case
from loadtests.steering.comparing import compare
from loadtests.steering.pipelines import GRAPHS, PIPELINES
from loadtests.steering.playing import play
from tests.unit.steering.scenes import one

GRAPH = {
    "stages": {
        "a": {"latency_ms": {"1": 10, "8": 30}, "price_usd_per_hour": 1.0, "startup_s": 3},
        "b": {"latency_ms": {"1": 20, "8": 60}, "price_usd_per_hour": 2.0, "startup_s": 10},
    },
    "edges": [["a", "b"]],
    "hop_ms": 4,
}
FIELDS = {
    "miss", "late", "shed", "failed", "cost_usd", "replica_seconds", "oracle_ratio", "actions", "p50_ms", "p99_ms",
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    graph, arrivals = tmp_path / "g.json", tmp_path / "a.csv"
    graph.write_text(json.dumps(GRAPH))
    at = workloads.named("step")(rate_per_s=50.0, seconds=120, seed=3)
    arrivals.write_text("\n".join(map(str, at)))
    return graph, arrivals, tmp_path / "out.json"


def run(files, *, names="inferline,ray,hpa,keda,static_peak,oracle", slo="200"):
    graph, arrivals, out = map(str, files)
    return main(["--graph", graph, "--arrivals", arrivals, "--slo-ms", slo, "--policies", names, "--json", out])


def test_all_policies_are_scored_over_all_events(files):
    assert run(files) == 0
    made = json.loads(files[2].read_text())
    events = len(files[1].read_text().split())
    assert list(made) == ["inferline", "ray", "hpa", "keda", "static_peak", "oracle"]
    for each in made.values():
        assert set(each) >= FIELDS
        assert each["miss"] == pytest.approx((each["late"] + each["shed"] + each["failed"]) / events)
        assert each["oracle_ratio"] >= 1 or each["miss"] > 0.01
    assert made["oracle"]["miss"] <= 0.01
    assert made["oracle"]["oracle_ratio"] == 1


def test_the_same_seed_gives_the_same_figures(files):
    assert run(files, names="ray") == 0
    first = files[2].read_text()
    assert run(files, names="ray") == 0
    assert files[2].read_text() == first


def test_an_unknown_policy_lists_the_known_ones(files, capsys):
    assert run(files, names="ray,hap") == 2
    told = capsys.readouterr().err
    assert "'hap'" in told
    for name in policies.POLICIES:
        assert name in told


def test_an_objective_below_the_floor_names_the_stage_and_is_scored_all_the_same(files, capsys):
    assert run(files, names="ray,static_peak", slo="25") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "34.0 ms" in told
    assert "9.0 ms are missing" in told
    assert "stage 'b'" in told
    made = json.loads(files[2].read_text())
    assert made["ray"]["miss"] == 1.0
    assert made["ray"]["oracle_ratio"] is None


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (
            json.dumps(
                {"stages": {n: {"latency_ms": {"1": 5}} for n in range(300)}, "edges": [[n, 299] for n in range(299)]}
            ),
            "299 edges lead into stage '299' → at most 255 are played",
        ),
        (
            '{"stages": {"a": {"latency_ms": {"1": 5}}, "a": {"latency_ms": {"1": 9}}}}',
            "'a' stands twice in one object → write each name once",
        ),
        ('{"stages": {"a": {"latency_ms": {"1": 5}}}, "edges": [["a", "c"]]}', "there is no stage 'c'"),
    ],
)
def test_a_wrong_graph_is_refused_with_its_file(files, capsys, graph, says):
    files[0].write_text(graph)
    assert run(files, names="ray") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "g.json" in told or "299" in says
    assert says in told


def test_files_of_windows_are_as_good_as_others(files):
    assert run(files, names="ray") == 0
    first = files[2].read_text()
    files[0].write_bytes(b"\xef\xbb\xbf" + files[0].read_bytes().replace(b", ", b",\r\n"))
    files[1].write_bytes(b"\xef\xbb\xbfarrival_s\r\n" + files[1].read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert run(files, names="ray") == 0
    assert files[2].read_text() == first


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_of_the_evaluation_can_be_read_and_kept(name):
    pipeline = PIPELINES[name]
    assert json.loads((GRAPHS / f"{name}.json").read_text())["hop_ms"] == 4
    assert pipeline.graph(gpu_startup_s=35.0).floor_s < pipeline.slo_ms / 1e3


def test_policies_see_only_the_past():
    class Recorder:
        def __init__(self, start):
            self.policy, self.seen = start, []

        def __call__(self, seen, memory):
            self.seen.append(seen)
            return self.policy(seen, memory)

    graph = one({"1": 10, "4": 20})
    whole = workloads.named("spike")(rate_per_s=60.0, seconds=300, seed=1)
    changed = np.concatenate([whole[whole < 150], whole[whole >= 150][::3]])
    records = []
    for arrivals in (whole, changed):
        case = Case(graph, arrivals, 0.2)
        recorder = Recorder(policies.POLICIES["hpa"](policies.Prepared(case))[0])
        play(recorder, case)
        records.append(recorder.seen)
    assert records[0][:150] == records[1][:150]
    assert records[0][:170] != records[1][:170]


def test_the_oracle_keeps_the_objective_for_less_than_who_does_not_know_the_future():
    at = workloads.named("spike")(rate_per_s=60.0, seconds=300, seed=1)
    case = Case(one({"1": 20, "8": 60}, startup_s=10), at, 0.2)
    made = compare(case, ["static_peak", "oracle"])
    assert made["oracle"].score.kept
    assert made["oracle"].score.cost_usd < made["static_peak"].score.cost_usd


def test_convergence_is_when_thirty_seconds_in_a_row_are_in_time():
    case = Case(one(10.0), np.arange(0, 200, 0.1), 0.2)
    run_ = play(policies.POLICIES["static_peak"](policies.Prepared(case))[0], case)
    assert scores.converged_s(run_, case, 60.0) == 0
    late = run_.latency_s.copy()
    late[(case.arrivals_s >= 60) & (case.arrivals_s < 75)] = 1.0
    assert scores.converged_s(type(run_)(**{**vars(run_), "latency_s": late}), case, 60.0) == 15
