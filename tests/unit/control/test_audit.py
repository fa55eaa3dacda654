"""The audit chain names the first row that was changed, moved or cut out, and lets lost races pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.audit import NOTHING_BEFORE, Chain, next_row, verify

if TYPE_CHECKING:
    from guidevane.events import Audit


def chain_of(length: int) -> list[Audit]:
    rows: list[Audit] = []
    for index in range(length):
        previous = rows[-1] if rows else None
        row = next_row(
            previous,
            at_us=index,
            actor=f"actor {index}",
            action="set",
            object="inference",
            reason="why",
            detail={"n": index},
        )
        rows.append(row)
    return rows


def test_given_the_first_row_then_it_continues_zeros() -> None:
    assert chain_of(1)[0]["previous"] == NOTHING_BEFORE


def test_given_a_whole_chain_then_nothing_is_broken() -> None:
    assert verify(chain_of(20)) is None


@given(index=st.integers(0, 9), field=st.sampled_from(["at_us", "actor", "action", "object", "reason", "detail"]))
def test_given_one_changed_field_then_its_row_is_named(index: int, field: str) -> None:
    rows = chain_of(10)
    changed = 99 if field == "at_us" else "changed"
    rows[index] = cast("Audit", {**rows[index], field: changed})
    assert verify(rows) == index


@given(index=st.integers(0, 8))
def test_given_a_row_forged_with_a_right_hash_then_the_next_one_is_named(index: int) -> None:
    rows = chain_of(10)
    before = rows[index - 1] if index else None
    rows[index] = next_row(before, at_us=1, actor="eve", action="set", object="inference", reason="hush")
    assert verify(rows) == index + 1


@given(index=st.integers(1, 8))
def test_given_a_row_cut_out_then_the_next_one_is_named(index: int) -> None:
    rows = chain_of(10)
    del rows[index]
    assert verify(rows) == index


def test_given_two_writers_behind_one_row_then_the_first_counts_and_the_second_can_write_again() -> None:
    chain, rows = Chain(), chain_of(3)
    for row in rows[:2]:
        chain.follow(row)
    late = next_row(rows[1], at_us=9, actor="ada", action="pause", object="controller", reason="roll-out")

    assert [chain.follow(rows[2]), chain.follow(late)] == ["continues", "lost"]

    again = next_row(chain.last, at_us=10, actor="ada", action="pause", object="controller", reason="roll-out")
    assert chain.follow(again) == "continues"
    assert verify([*rows, late, again]) is None


def test_given_a_forged_row_before_the_true_one_then_what_follows_the_true_one_is_broken() -> None:
    rows = chain_of(4)
    forged = next_row(rows[0], at_us=1, actor="eve", action="set", object="inference", reason="hush")
    assert verify([rows[0], forged, *rows[1:]]) == 3


@pytest.mark.parametrize("start", [0, 1, 5])
def test_given_a_chain_read_from_the_middle_then_it_is_whole(start: int) -> None:
    assert verify(chain_of(8)[start:]) is None
