from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guidevane.log.murmur import murmur2
from guidevane.log.murmurs import murmur2_all


@given(st.lists(st.binary(max_size=9), max_size=20), st.integers(0, 41), st.randoms(use_true_random=False))
def test_given_any_keys_many_of_them_are_hashed_as_one_by_one(keys, length, rng):
    keys += [rng.randbytes(length) for _ in range(40)]
    rng.shuffle(keys)

    assert murmur2_all(keys) == [murmur2(key) for key in keys]
