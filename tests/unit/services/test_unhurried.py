"""Given a plan that takes a second of CPU, when it is made beside the events, then a little of it is made at a time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.unit.control.test_guiding import SITE, Cluster

from guidevane.control.guiding import Guide
from guidevane.control.pausing import pausing
from guidevane.services.controller.unhurried import Rests


@dataclass
class Core:
    """A core that a thread has a share of."""

    share: float = 1.0
    used_s: float = 0.0
    now_s: float = 0.0
    slept_s: float = 0.0
    since_s: float = 0.0
    longest_s: float = 0.0

    def compute(self, seconds: float) -> None:
        self.used_s += seconds
        self.now_s += seconds / self.share
        self.since_s += seconds
        self.longest_s = max(self.longest_s, self.since_s)

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.now_s += seconds
        self.since_s = 0.0

    def rests(self) -> Rests:
        return Rests(used_s=lambda: self.used_s, now_s=lambda: self.now_s, sleep=self.sleep)


def test_given_simulations_of_a_millisecond_then_a_plan_rests_two_thirds_of_the_time_and_computes_for_milliseconds():
    core = Core()
    rests = core.rests()

    for _ in range(900):
        core.compute(0.001)
        rests()

    assert core.longest_s < 0.0065
    assert core.now_s == pytest.approx(2.7, abs=0.02)


def test_given_a_core_that_others_have_most_of_then_there_is_no_rest_beside_that():
    core = Core(share=0.25)
    rests = core.rests()

    for _ in range(900):
        core.compute(0.001)
        rests()

    assert core.slept_s == 0.0


def test_given_an_endless_plan_then_it_rests_for_no_longer_than_a_loop_may_be_waited_for():
    core = Core()
    rests = core.rests()

    for _ in range(5000):
        core.compute(0.001)
        rests()

    assert core.slept_s == pytest.approx(4.0)


def test_given_a_first_plan_then_it_is_the_one_of_who_never_rests_and_stops_often_on_its_way():
    cluster, memories = Cluster(), (None, None)
    hurried, paused, stops = Guide(SITE), Guide(SITE), []

    for _ in range(7):
        seen = cluster.seen(100.0)
        expected, known = hurried(seen, memories[0])
        with pausing(lambda: stops.append(1)):
            found, memory = paused(seen, memories[1])
        memories = known, memory

        assert repr(found) == repr(expected)
        assert memory == known
        cluster.do(found)
    assert len(stops) > 200
