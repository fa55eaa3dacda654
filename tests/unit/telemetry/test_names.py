"""Given the declared metrics, when they are shown to people, then page, constants and conventions agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guidevane.telemetry import names
from guidevane.telemetry.names import DECLARED, EVERYWHERE, PREFIX, Metric, render

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_given_the_declared_metrics_when_rendered_then_the_page_in_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "python -m guidevane.telemetry.names > docs/metrics.md"


@pytest.mark.parametrize("metric", DECLARED.values(), ids=lambda metric: metric.name)
def test_given_a_declared_metric_then_it_keeps_the_conventions(metric: Metric) -> None:
    constant = metric.name.removeprefix(PREFIX).upper()

    assert getattr(names, constant) == metric.name
    assert re.fullmatch(r"guidevane_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert ("_seconds" in metric.name) == (metric.unit == "s")
    assert ("_bytes" in metric.name) == (metric.unit == "By")
    assert not set(metric.labels) & {*EVERYWHERE, "instance", "job", "le"}
    assert metric.help.endswith((".", "..."))
