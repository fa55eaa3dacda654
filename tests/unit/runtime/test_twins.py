"""Given a member that its group forgets, then only who is forgotten again and again has a twin."""

from __future__ import annotations

from guidevane.runtime.twins import Twins
from guidevane.testing import ManualClock


def test_given_a_member_that_is_thrown_out_again_and_again_then_it_says_that_it_has_a_twin_until_that_is_over():
    clock = ManualClock()
    twins = Twins(clock, "p.fused", "p-fused-0")
    for _ in range(6):
        assert not twins.says
        clock.advance(2.0)
        twins.ousted()
    assert "another process is 'p-fused-0' in group p.fused too" in twins.says
    clock.advance(60.0)
    assert not twins.says


def test_given_stalls_that_are_far_apart_then_there_is_no_twin():
    clock = ManualClock()
    twins = Twins(clock, "p.fused", "p-fused-0")
    for _ in range(20):
        clock.advance(15.0)
        twins.ousted()
    assert not twins.says
