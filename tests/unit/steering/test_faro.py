"""Given ten jobs on one capacity, when it is shared, then by the formulas, and nobody serves more than there is."""

import doctest
import importlib

import numpy as np
import pytest
from loadtests.steering.faro import faro_fairsum, faro_sum, utility
from loadtests.steering.faro.__main__ import compared
from loadtests.steering.faro.jobs import JOBS, Jobs, changes, served


@pytest.mark.parametrize("name", ["jobs", "utility", "faro_sum", "faro_fairsum"])
def test_the_examples_worked_by_hand_are_what_comes_out(name):
    tried = doctest.testmod(importlib.import_module(f"loadtests.steering.faro.{name}"))
    assert tried.attempted > 0
    assert tried.failed == 0


def test_faros_latency_is_half_of_m_m_c_as_on_paper():
    # One replica, 180 ms, half busy: it waits with probability 0.5, and the 99th percentile of that wait is
    # ln(50) / (5.556 - 2.778) = 1.408 s; half of it and the service make 0.884 s, 0.814 of the objective's 0.72 s.
    rate = 0.5 / 0.18
    assert utility.latency_s(rate, 1) == pytest.approx(0.18 + np.log(50) / (1 / 0.18 - rate) / 2)
    assert utility.utility(rate, 1) == pytest.approx(0.72 / 0.88417, abs=1e-4)


def test_sum_and_fairsum_differ_where_the_worst_pays_for_the_best():
    # Three replicas: (2, 1) makes 1 + 0.5, (1, 2) makes 0.7 + 0.6; fair is 1.3 - 2 x 0.1 against 1.5 - 2 x 0.5.
    utilities = np.array([[0, 0.7, 1.0], [0, 0.5, 0.6]])
    assert faro_sum.largest_sum(utilities, 3) == (2, 1)
    assert faro_fairsum.fairest_sum(utilities, 3) == (1, 2)


def test_first_come_first_served_as_on_paper():
    at, took = np.array([0.0, 0.1, 0.2, 0.5]), np.full(4, 0.4)
    still = changes(np.array([1]), 20.0)
    # They end at 0.4, 0.8, 1.2 and 1.6 s: after 0.4, 0.7, 1.0 and 1.1 s.
    assert served(at, took, *still, 50, 0.72, -1.0).tolist() == [False, False, True, True]
    # Where one may wait, the third is turned away, and the fourth ends at 1.2 s, after 0.7 s.
    assert served(at, took, *still, 1, 0.72, -1.0).tolist() == [False, False, True, False]
    # The third has 0.12 s left when its turn comes at 0.8 s, and needs 0.3 s: it is dropped for the fourth.
    assert served(at, took, *still, 50, 0.72, 0.3).tolist() == [False, False, True, False]


def test_a_replica_serves_from_its_start_up_and_leaves_when_it_is_done():
    at, took = np.arange(0.0, 120.0, 0.1), np.full(1200, 0.15)
    short, more = (served(at, took, *changes(np.array(rows), 20.0), 50, 0.72, 0.15) for rows in ([1], [1, 2, 2, 2, 1]))
    assert not more[(at > 60) & (at < 80)].any(), "ordered at 20 s, there at 55 s, and what waited is gone by 60 s"
    assert more[at < 54].tolist() == short[at < 54].tolist()
    assert more[at > 95].mean() == pytest.approx(short[at > 95].mean(), abs=0.02)


def test_every_allocation_stays_within_the_capacity_and_ours_misses_least():
    jobs = Jobs(seed=1, minutes=20)
    made = compared(jobs, 36)
    assert {name for name, each in made.items() if each.share < made["equal"].share} >= {"guidevane"}
    assert made["guidevane"].share == min(each.share for each in made.values())


@pytest.mark.parametrize("decide", [faro_sum.decide, faro_fairsum.decide])
def test_faro_hands_out_all_that_there_is(decide):
    found = decide(Jobs(seed=1, minutes=10), 300.0, (3,) * JOBS, 32)
    assert sum(found) == 32
    assert min(found) >= 1
