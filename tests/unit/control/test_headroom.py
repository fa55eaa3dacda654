"""Given a pipeline's past, when headroom is chosen, then the cheapest that would have kept the budget, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from guidevane.control.hardware import Choice
from guidevane.control.headroom import Headroom
from guidevane.control.outlook import FLUID, Fluid, Planned, misses
from guidevane.control.reading import read_graph
from guidevane.control.table import ANCHOR, STEP, Row, Table, place

GRAPH = read_graph({"stages": {"m": {"latency_ms": {"1": 20, "4": 40}, "price_usd_per_hour": 2.0}}})
KINDS = ("default",)


def lived(rates, demands) -> Headroom:
    known = Headroom()
    for rate, demand in zip(rates, demands, strict=True):
        known = known.after(rate, demand)
    return known


def test_bursts_that_the_rate_does_not_announce_are_met_by_a_level():
    demands = [10.0] * 1800
    for second in range(200, 1800, 200):
        demands[second : second + 5] = [100.0] * 5
    known = lived([10.0] * 1800, demands).chosen(0.005, lag_s=20, hold_s=40)

    assert known.ready_for(40) >= 90
    assert known.level_per_s >= 90


def test_what_bursts_cost_less_than_the_budget_is_borne():
    demands = [10.0] * 1800
    demands[900:905] = [12.0] * 5
    known = lived([10.0] * 1800, demands).chosen(0.01, lag_s=20, hold_s=40)

    assert known.ready_for(40) <= 10.5


@pytest.mark.parametrize(("seconds", "enough"), [(600, 1.0), (1200, 0.6)])
def test_less_than_the_rate_now_is_enough_only_for_who_has_seen_a_quarter_of_an_hour(seconds, enough):
    # Plans of this graph bear more than they are for, and nothing ever changes.
    outlook = Planned(Table(GRAPH, 0.2, 0.005), 1.0)
    known = lived([150.0] * seconds, [150.0] * seconds).chosen(0.01, lag_s=20, hold_s=40, outlook=outlook)

    assert known.factor >= enough
    assert (known.factor < 1) == (seconds > 900)


def test_who_has_spent_the_budget_is_ready_for_the_rate_now_whatever_plans_are_believed_to_bear():
    outlook = Planned(Table(GRAPH, 0.2, 0.005), 1.0)
    known = lived([150.0] * 1200, [150.0] * 1200).chosen(0.01, lag_s=20, hold_s=40, outlook=outlook)
    spent = known.chosen(0.01, lag_s=20, hold_s=40, outlook=outlook, spent=True)
    assert known.factor < 1 <= spent.factor
    assert spent.chosen(0.01, lag_s=20, hold_s=40, outlook=outlook).factor < 1


def test_a_rule_that_still_keeps_the_budget_is_not_changed_for_little():
    past = lived([50.0] * 600, [50.0] * 600)
    once = past.chosen(0.02, lag_s=20, hold_s=40)
    again = once.chosen(0.021, lag_s=20, hold_s=40)

    assert (again.factor, again.level_per_s, again.held) == (once.factor, once.level_per_s, once.held)


def test_a_planned_pipeline_loses_less_than_what_is_above_its_rate():
    outlook = Planned(Table(GRAPH, 0.2, 0.005), 1.0)
    ready = np.full(3, 100.0)
    come = np.array([60.0, 115.0, 400.0])
    missed = outlook.missed(ready, come)

    assert missed[0] <= 0.005
    assert missed[1] < FLUID.missed(ready, come)[1]
    assert missed[2] == pytest.approx(FLUID.missed(ready, come)[2], abs=0.3)
    assert outlook.usd(ready)[0] == outlook.table.row(100.0, 1.0).usd_per_hour


def test_the_least_that_bears_a_rate_is_no_more_than_its_own_row_and_less_where_more_may_miss():
    outlook = Planned(Table(GRAPH, 0.2, 0.005), 1.0)
    strict, lax = outlook.least(100.0, 0.01), outlook.least(100.0, 0.2)

    assert lax < strict <= 100.0
    assert outlook.missed(np.array([lax]), np.array([100.0]))[0] <= 0.2
    assert outlook.least(100.0, 0.0) <= 100.0


def test_hardware_that_cannot_keep_the_objective_is_left_at_once():
    rows = {("slow",): Row(10.0, 1.0, (), 1.0, feasible=False), ("fast",): Row(10.0, 1.0, (), 5.0)}

    assert Choice(("slow",)).after(rows.get, ("fast",), 10.0, startup_s=20.0).kinds == ("fast",)


def test_a_saving_that_comes_and_goes_moves_nothing():
    choice = Choice(("a",))
    for second in range(0, 600, 10):
        cheaper = 3.0 if second % 20 else 5.0
        rows = {("a",): Row(10.0, 1.0, (), 4.0), ("b",): Row(10.0, 1.0, (), cheaper)}
        choice = choice.after(rows.get, ("b",), 10.0, startup_s=30.0)

    assert choice.kinds == ("a",)


@pytest.mark.parametrize("dispersion", [1.0, 64.0])
def test_given_rates_far_above_or_below_asked_for_first_then_what_misses_and_what_it_costs_is_the_same(dispersion):
    ready, come = np.array([2.0, 30.0, 100.0, 230.0]), np.array([1.0, 45.0, 340.0, 20.0])
    once, again = (Planned(Table(GRAPH, 0.2, 0.005, KINDS), dispersion) for _ in range(2))
    whole = once.missed(ready, come), once.usd(ready)
    apart = [
        (again.missed(ready[at : at + 1], come[at : at + 1])[0], again.usd(ready[at : at + 1])[0])
        for at in (3, 0, 2, 1)
    ]

    assert [missed for missed, _ in apart] == [whole[0][at] for at in (3, 0, 2, 1)]
    assert [usd for _, usd in apart] == [whole[1][at] for at in (3, 0, 2, 1)]


def test_given_what_one_replica_each_does_for_then_less_costs_the_same_and_no_row_is_searched_for_it(monkeypatch):
    searched, search = [], Table._searched
    monkeypatch.setattr(Table, "_searched", lambda table, at, kind: searched.append(at) or search(table, at, kind))
    table = Table(GRAPH, 0.2, 0.005, KINDS)
    usd = [table.usd(at, 1.0) for at in range(-20, place(30.0), ANCHOR)]
    before = len(searched)
    rows = [table.row(STEP**at, 1.0) for at in range(-20, place(30.0), ANCHOR)]

    assert usd == [row.usd_per_hour for row in rows]
    assert before <= 4 < len(searched)


def test_given_a_least_that_is_enough_then_nothing_is_asked_of_what_is_above_it():
    class Asked(Fluid):
        def missed(self, ready, come):
            asked.extend(ready.tolist())
            return super().missed(ready, come)

    asked = []
    enough = next(each for each, missed in misses(Asked(), np.array([40.0, 60.0, 80.0]), 100.0) if missed <= 0.4)

    assert enough == 60.0
    assert asked == [40.0, 60.0]
