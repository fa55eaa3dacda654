"""Given members that were measured up to different batches, then their one batch is none that was never measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guidevane.control.batching import one_batch
from guidevane.control.plant import Setting
from guidevane.control.reading import read_graph
from guidevane.control.site import Movable, Site
from guidevane.control.table import Table

GRAPH = read_graph(
    {
        "stages": {"quick": {"latency_ms": {"1": 2, "64": 20}}, "deep": {"latency_ms": {"1": 20, "16": 90}}},
        "edges": [],
    }
)
SITE = Site(members=(Movable(name="quick", cpus=0.02), Movable(name="deep", cpus=0.02)), slo_s=0.4, epsilon=0.01)


@pytest.mark.parametrize("planned", [(32, 16), (64, 1), (32, 8)])
def test_given_a_plan_with_a_batch_beyond_what_another_member_knows_then_it_is_not_tried(planned):
    settings = tuple(Setting("default", 4, batch) for batch in planned)

    batch, chosen = one_batch(
        GRAPH, Table(GRAPH, 0.4, 0.01), settings, SITE, rate_per_s=50.0, feared_per_s=60.0, dispersion=1.0, before=64
    )

    assert batch <= 16
    assert chosen == tuple(replace(each, batch=batch) for each in chosen)


def test_given_replicas_that_idle_then_the_batch_is_one_with_which_they_bear_what_is_feared():
    settings = (Setting("default", 1, 1), Setting("default", 2, 1))
    table = Table(GRAPH, 0.4, 0.01)

    calm, _ = one_batch(GRAPH, table, settings, SITE, rate_per_s=20.0, feared_per_s=25.0, dispersion=1.0, before=1)
    wary, chosen = one_batch(
        GRAPH, table, settings, SITE, rate_per_s=20.0, feared_per_s=250.0, dispersion=1.0, before=1
    )

    # Two replicas answer 100 a second one by one, 356 in batches of sixteen.
    deep = GRAPH.stage("deep").hardware[0].profile
    assert 2 * deep.throughput(wary) > 250.0 > 2 * deep.throughput(1)
    assert calm <= wary
    assert chosen[1].replicas == 2
