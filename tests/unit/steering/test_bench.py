"""Given a cell that was played, when only our policy is played again, then the rest stands as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from loadtests.steering import bench, keeping
from loadtests.steering.cells import Cell
from loadtests.steering.heaps import CELLS, heaps

if TYPE_CHECKING:
    from pathlib import Path

CELL = Cell("image", "step", 20.0, 40, 1)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "Kept", lambda: keeping.Kept(tmp_path / "kept"))
    return bench.play_cell(CELL, ("guidevane", "static_peak", "oracle"), tmp_path)


def test_ours_played_alone_is_what_it_was_among_others(played) -> None:
    before = {**played, "guidevane": {**played["guidevane"], "cost_usd": 99.0, "oracle_ratio": 9.0}}

    assert bench.play_ours(CELL, before) == played


def test_given_that_ours_costs_less_than_the_oracle_found_then_all_are_measured_by_ours(played) -> None:
    dear = 3 * played["guidevane"]["cost_usd"]
    before = {**played, "oracle": {**played["oracle"], "cost_usd": dear, "kept": True}}

    found = bench.play_ours(CELL, before)

    assert found["guidevane"]["kept"], "the case is one that is held"
    assert found["guidevane"]["oracle_ratio"] == 1.0
    assert found["oracle"]["oracle_ratio"] == pytest.approx(3.0)


def test_heaps_come_when_they_are_due_and_at_once() -> None:
    at = heaps(50, 2.0, seconds=60, seed=1, beside_per_s=0.0)

    assert at.size == 30 * 50
    assert (at.reshape(-1, 50).max(axis=1) - at.reshape(-1, 50).min(axis=1)).max() <= 0.005
    assert len({each.name for each in CELLS}) == len(CELLS)
