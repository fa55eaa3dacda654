"""Mutants of events and of every poison: each is answered, quickly. ``make fuzz`` does a million."""

from __future__ import annotations

import random

from fuzzing import fuzz


def test_twenty_thousand_mutants_are_answered_and_some_of_each_sort():
    seed = random.SystemRandom().randrange(1 << 32)
    (done, found) = list(fuzz(20_000, seed))[-1]
    assert (done, found.total()) == (20_000, 20_000), f"seed {seed}"
    assert found["accepted"] > 1000
    assert {"truncated", "malformed", "bad_magic", "bad_utf8", "unknown_schema", "decode_budget"} <= found.keys()
