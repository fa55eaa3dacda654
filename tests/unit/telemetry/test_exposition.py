"""Given counted numbers, when Prometheus asks, then it reads the declared names, labels and buckets."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from guidevane.telemetry import names
from guidevane.telemetry.exposition import Exposition
from guidevane.telemetry.histogram import BUCKETS
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.names import DECLARED

NASTY = 'a "quoted" \\ path\nand a line'


@pytest.fixture
def room():
    metrics = Metrics("employment", "inference", "7")
    exposition = Exposition(metrics)
    yield metrics, exposition
    exposition.close()


def scraped(exposition: Exposition):
    families = text_string_to_metric_families(exposition.scrape().decode())
    return {family.name: family for family in families if family.name.startswith("guidevane")}


def test_given_every_declared_metric_when_scraped_then_each_stands_under_its_own_name(room) -> None:
    metrics, exposition = room
    for each in DECLARED.values():
        labels = dict.fromkeys(each.labels, "x")
        {"counter": metrics.count, "gauge": metrics.gauge, "histogram": metrics.observe}[each.kind](
            each.name, 2.0, **labels
        )

    families = scraped(exposition)

    assert set(families) == {name.removesuffix("_total") for name in DECLARED}
    for each in DECLARED.values():
        family = families[each.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (each.kind, each.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {"pipeline", "room", *each.labels}


def test_given_batches_when_scraped_then_the_histogram_has_all_buckets_count_and_sum(room) -> None:
    metrics, exposition = room
    metrics.observe(names.AGE_SECONDS, np.array([0.01, 0.2, 1e9]), stage="ingest")

    samples = scraped(exposition)[names.AGE_SECONDS].samples

    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert len(buckets) == BUCKETS
    assert (buckets["0.01"], buckets["1"], buckets["10000"], buckets["+Inf"]) == (1, 2, 2, 3)
    assert [sample.value for sample in samples if sample.name.endswith("_count")] == [3]
    assert [sample.value for sample in samples if sample.name.endswith("_sum")] == [1e9 + 0.21]


def test_given_label_values_from_anywhere_when_scraped_then_they_are_escaped(room) -> None:
    metrics, exposition = room
    metrics.count(names.DEAD_LETTERS_TOTAL, stage=NASTY, cause="c")
    metrics.observe(names.AGE_SECONDS, 1.0, stage=NASTY)

    families = scraped(exposition)

    assert families["guidevane_dead_letters"].samples[0].labels["stage"] == NASTY
    assert families[names.AGE_SECONDS].samples[0].labels["stage"] == NASTY


def test_given_a_drain_when_scraped_then_prometheus_still_sees_totals(room) -> None:
    metrics, exposition = room
    metrics.count(names.FENCED_TOTAL)
    metrics.drain(1)
    metrics.count(names.FENCED_TOTAL)

    assert scraped(exposition)["guidevane_fenced"].samples[0].value == 2
