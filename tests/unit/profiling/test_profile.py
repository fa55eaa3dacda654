"""Given what was measured, then the planner can read it, and it says how sure it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.services.overload import PIPELINE
from typer.testing import CliRunner

from guidevane import Ensemble, Event, Member
from guidevane.cli import app
from guidevane.control.reading import read_graph
from guidevane.errors import Misconfigured
from guidevane.profiling.document import document
from guidevane.profiling.measured import Curve, Deployed, Point, Quantile, StageCost, Untried
from guidevane.profiling.plot import Drawn, draw
from guidevane.profiling.samples import events_for
from guidevane.profiling.stages import stage_costs
from guidevane.testing import ManualClock


def curve(kind: str, members: tuple[str, ...], seconds: dict[int, float], startup_s: float = 3.0) -> Curve:
    points = [Point.of(batch, [s] * 40, [s + 0.004] * 40) for batch, s in seconds.items()]
    return Curve(kind, members, tuple(points), startup_s)


def written(*deployed: Deployed, quorum: int = 1) -> dict:
    members = [Member(name, f"m:{name}") for each in deployed for name in each.curves[0].members]
    pipeline = replace(PIPELINE, ensemble=Ensemble(members, quorum=quorum))
    stages = [StageCost(name, {1: 0.001, 8: 0.004}) for name in ("ingest", "preprocess", "postprocess")]
    return document(
        pipeline, deployed, stages, usd_per_hour={each.name: 0.5 for each in deployed},
        room_usd_per_hour=0.04, room_startup_s=5.0, facts={"cpus": 2},
    )  # fmt: skip


def test_given_a_measured_pipeline_when_read_as_a_graph_then_it_has_the_same_latencies_prices_hops_and_quorum() -> None:
    slow = curve("cpu", ("deep",), {1: 0.02, 8: 0.1}, startup_s=12.0)
    quick = curve("cpu-compile", ("deep",), {1: 0.01, 8: 0.05})
    both = Deployed("deep", (slow, quick), (Untried("cuda", "no GPU"),))

    graph = read_graph(written(both, Deployed("quick", (curve("cpu", ("quick",), {1: 0.002, 8: 0.003}),))))

    deep = graph.stage("deep")
    assert [each.name for each in deep.hardware] == ["cpu", "cpu-compile"]
    assert deep.on("cpu").profile.points == ((1, 0.02), (8, 0.1))
    assert (deep.on("cpu").startup_s, deep.on("cpu").price_usd_per_hour) == (12.0, 0.5)
    assert {(each.before, each.after) for each in graph.edges} == {
        ("ingest", "preprocess"), ("preprocess", "deep"), ("preprocess", "quick"),
        ("deep", "postprocess"), ("quick", "postprocess"),
    }  # fmt: skip
    assert graph.hop_s == pytest.approx(0.004)
    assert graph.quorum == {"postprocess": 1}


def test_given_members_that_share_a_deployment_then_they_are_one_stage_and_no_quorum_is_below_it() -> None:
    together = Deployed("deep", (curve("cpu", ("deep", "quick"), {1: 0.02}),))

    graph = read_graph(written(together, quorum=2))

    assert set(graph.names) == {"ingest", "preprocess", "deep", "postprocess"}
    assert graph.quorum == {}


@given(st.floats(0.0, 0.9), st.integers(0, 9))
def test_given_service_times_of_a_known_jitter_then_profile_and_jitter_are_found_again(
    jitter: float, seed: int
) -> None:
    draws = np.abs(np.random.default_rng(seed).standard_normal(20_000))
    p50, p99 = (Quantile(float(np.quantile(0.05 * (1 + jitter * draws), p)), 0.0, 0.0) for p in (0.5, 0.99))
    point = Point(8, 1, p50, p99, p50, p99)

    found = Curve("cpu", ("deep",), (point,), 1.0)

    assert found.jitter == pytest.approx(jitter, abs=0.06)
    assert found.latency_s(point) == pytest.approx(0.05, rel=0.05)


async def test_given_a_pipeline_without_recorded_data_then_events_are_made_by_its_contract_and_each_stage_has_a_cost():
    told: list[str] = []
    event, origin = events_for("nowhere:pipeline", PIPELINE, ManualClock())

    costs, vectors = await stage_costs(PIPELINE, event, [1, 8], lambda what, _: told.append(what))

    assert origin == "made by the contract"
    assert [each.name for each in costs] == ["ingest", "preprocess", "postprocess"]
    assert all(seconds > 0 for each in costs for seconds in each.mean_s.values())
    assert (vectors.shape[1], told[-1]) == (PIPELINE.vector.width, "stages: measured")


async def test_given_events_that_the_pipeline_rejects_then_that_is_told_with_the_reason() -> None:
    schema = {**PIPELINE.event.history[1], "name": "mill.odd"}
    schema["fields"] = [*schema["fields"][:1], {"name": "value", "type": ["double", "null"]}, *schema["fields"][2:]]
    odd = replace(PIPELINE, event=Event("mill.odd.v1", schema=schema, key="sensor", time="at_us"))
    event, _ = events_for("nowhere:pipeline", odd, ManualClock())

    with pytest.raises(Misconfigured, match="takes none of the events"):
        await stage_costs(odd, lambda number: {**event(number), "value": None}, [1], lambda *_: None)


def test_given_a_member_or_a_batch_that_is_not_there_then_nothing_starts_and_what_is_there_is_listed() -> None:
    unknown = CliRunner().invoke(app, ["profile", "employment", "--member", "deap"])
    nonsense = CliRunner().invoke(app, ["profile", "employment", "--batches", "one"])

    assert "no member 'deap' → wide, deep, trees" in str(unknown.exception)
    assert "--batches 'one'" in str(nonsense.exception)


def test_given_lines_when_drawn_then_each_is_named_and_the_axes_are_labelled() -> None:
    drawn = draw("a title", "batch", "ms", [Drawn("deep <p50>", [(1.0, 2.0, 1.5, 2.5), (64.0, 9.0, 8.0, 30.0)])])

    assert drawn.startswith("<svg")
    assert "deep &lt;p50&gt;" in drawn
    assert all(f">{tick}<" in drawn for tick in (1, 2, 64))
