"""Given what runs and its price, when time passes, then the account adds up, and the month's end has its spread."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.bill import HOUR_US, Account, Prices, month_end, usd_per_hour
from guidevane.control.observation import MemberSeen, Observation, RoomSeen


def at(day: int, hour: float = 0.0, month: int = 11) -> int:
    return round(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1e6 + hour * HOUR_US)


def test_given_replicas_that_start_then_they_cost_from_launch_and_what_is_unknown_is_left_out() -> None:
    seen = Observation(
        at_us=0,
        pipeline="p",
        members=(
            MemberSeen(name="deep", replicas=3, ready=1, starting=(1.0, 2.0)),
            MemberSeen(name="old", replicas=1, ready=2),
            MemberSeen(name="unknown"),
            MemberSeen(name="unpriced", replicas=5),
        ),
        rooms=(RoomSeen(name="ingest", heard=2),),
    )
    prices = Prices({"deep": 0.5, "old": 0.25, "unknown": 9.0}, room_usd=0.04)

    assert usd_per_hour(prices, seen) == {"deep": 1.5, "old": 0.5, "room ingest": 0.08}


@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(1, 5 * HOUR_US), st.integers(0, 9)), max_size=30))
def test_given_any_steps_then_money_is_price_times_time_however_it_is_cut(steps) -> None:
    account, begin = Account.opened(at(2, 3.3)), at(2, 3.3)
    now, owed, decisions = begin, 0.0, 0
    for usd, gap_us, decided in steps:
        now += gap_us
        owed += usd * gap_us / HOUR_US
        decisions += decided
        account = account.charged(usd, decided, now)

    assert account.spent_usd == pytest.approx(owed)
    assert account.decisions == decisions
    assert sum(account.hours) + account.hour_usd <= owed + 1e-6, "the hour that ran before the account is no whole one"
    assert Account.of_settings(account.as_settings()).spent_usd == account.spent_usd
    assert len(account.hours) == max(0, now // HOUR_US - begin // HOUR_US - 1)


def test_given_a_month_that_ends_then_the_next_one_begins_with_nothing() -> None:
    account = Account.opened(at(30, 22.0)).charged(2.0, 100, at(30, 23.5))
    assert (account.spent_usd, account.usd_per_1000) == (pytest.approx(3.0), pytest.approx(30.0))

    account = account.charged(2.0, 5, at(1, 0.25, month=12))
    assert (account.spent_usd, account.decisions) == (pytest.approx(0.5), 5)


def test_given_time_that_goes_backwards_or_is_away_for_weeks_then_nothing_is_made_up() -> None:
    account = Account.opened(at(5)).charged(1.0, 1, at(5, 2))

    assert account.charged(1.0, 1, at(5, 1)).spent_usd == account.spent_usd
    assert account.charged(1.0, 1, at(25)) == Account(began_us=at(25), at_us=at(25), decisions=1)


def test_given_nothing_known_but_the_price_then_the_rest_of_the_month_costs_that_and_no_spread_is_told() -> None:
    account = Account.opened(at(30, 12.0)).charged(0.5, 0, at(30, 14.0))

    assert month_end(account, 0.5) == (pytest.approx(1.0 + 10 * 0.5), None)


def test_given_the_same_cost_each_hour_then_the_bill_is_certain() -> None:
    account = Account.opened(at(1)).charged(0.2, 0, at(6))
    forecast = month_end(account, 99.0)

    assert forecast == (pytest.approx(0.2 * 24 * 30), pytest.approx(0.2 * 24 * 30))


@pytest.mark.parametrize("days", [5, 7])
def test_given_days_that_differ_then_nine_months_of_ten_stay_below_the_p90_and_half_below_the_p50(days) -> None:
    draws, below_p50, below_p90, months = np.random.default_rng(1), 0, 0, 1500
    for _ in range(months):
        cost = draws.gamma(20.0, 1.0, size=30)
        hours = tuple(float(usd) / 24 for usd in cost[:days] for _ in range(24))
        account = Account(began_us=at(1), at_us=at(1 + days), spent_usd=float(cost[:days].sum()), hours=hours)
        forecast = month_end(account, 1.0)
        below_p50 += cost.sum() <= forecast.p50
        below_p90 += cost.sum() <= forecast.p90

    assert below_p50 / months == pytest.approx(0.5, abs=0.05)
    assert below_p90 / months == pytest.approx(0.9, abs=0.035)
