"""Cases by number, and runs that are kept."""

from __future__ import annotations

import shutil

import numpy as np
from loadtests.steering import drawn, keeping
from loadtests.steering.baselines.static import Static
from loadtests.steering.case import Case
from loadtests.steering.keeping import Kept
from loadtests.steering.playing import play
from tests.unit.steering.scenes import action, one


def test_every_number_is_a_case_that_can_be_played_and_the_same_each_time():
    both = [*drawn.cases(held_out=False), *drawn.cases(held_out=True)]
    assert len({each.number for each in both}) == 2 * drawn.MANY
    for each in both:
        case, kind = each.drawn(seed=1)
        assert case.arrivals_s.size > 1000, kind
        assert np.all(np.diff(case.arrivals_s) >= 0)
        assert not case.floor_missing()
    assert np.array_equal(both[0].case(seconds=0, seed=1).arrivals_s, both[0].case(seconds=0, seed=1).arrivals_s)


def test_a_run_that_is_kept_is_the_run_and_that_of_another_case_is_not_found(tmp_path):
    case, other = (Case(one(10.0), np.arange(0, 20, gap), 0.2) for gap in (0.1, 0.05))
    run, kept = play(Static(action(a=(1, 1)).settings), case), Kept(tmp_path)
    kept.remember(case, "static", run)

    again = kept.recall(case, "static")

    assert again is not None
    assert np.array_equal(again.latency_s, run.latency_s)
    assert (again.cost_usd, again.misses(0.2), again.actions) == (run.cost_usd, run.misses(0.2), run.actions)
    assert kept.recall(other, "static") is None
    assert kept.recall(case, "other") is None


def test_who_changes_the_oracles_search_plays_the_oracle_again_and_nobody_else(tmp_path, monkeypatch):
    source = keeping.HERE
    shutil.copytree(source, tmp_path / "steering", ignore=shutil.ignore_patterns("data", "graphs", "__pycache__"))
    monkeypatch.setattr(keeping, "HERE", tmp_path / "steering")
    case, names, kept = Case(one(10.0), np.arange(0, 20, 0.1), 0.2), ("hpa", "oracle"), Kept(tmp_path / "kept")
    run = play(Static(action(a=(1, 1)).settings), case)

    def known() -> list[bool]:
        keeping.sources.cache_clear()
        return [kept.recall(case, name) is not None for name in names]

    known()
    for name in names:
        kept.remember(case, name, run)
    assert known() == [True, True]

    with (tmp_path / "steering" / "baselines" / "oracle.py").open("a") as file:
        file.write("# changed\n")
    assert known() == [True, False]

    with (tmp_path / "steering" / "baselines" / "static.py").open("a") as file:
        file.write("# changed\n")
    assert known() == [False, False]
    monkeypatch.undo()
    keeping.sources.cache_clear()
