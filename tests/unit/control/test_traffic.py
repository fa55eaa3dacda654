"""Given what came each half second and tenth, when it is read, then steps, slopes, noise and heaps differ."""

from __future__ import annotations

import numpy as np
import pytest

from guidevane.control.arrivals import gamma_arrivals
from guidevane.control.traffic import Traffic


def test_traffic_follows_a_jump_at_once_and_noise_not_at_all():
    random, traffic = np.random.default_rng(2), Traffic()
    for _ in range(200):
        traffic = traffic.after(random.poisson(30, 2).tolist(), 1.0)
    steady = traffic.rate_per_s
    for _ in range(3):
        traffic = traffic.after(random.poisson(60, 2).tolist(), 1.0)

    assert steady == pytest.approx(60, rel=0.06)
    assert traffic.dispersion == pytest.approx(1.0, abs=0.4)
    assert traffic.rate_per_s > 90


def traffic_of(rates: list[float], seed: int = 3) -> Traffic:
    random, traffic = np.random.default_rng(seed), Traffic()
    for rate in rates:
        traffic = traffic.after(random.poisson(rate / 2, 2).tolist(), 1.0)
    return traffic


def test_a_steady_rise_is_known_where_it_is_now_and_led_on():
    rising = traffic_of([36.0] * 120 + [36 + 1.8 * second for second in range(24)])

    assert rising.rate_per_s == pytest.approx(79, rel=0.12)
    assert 79 < rising.ahead_per_s(20.0) < 79 + 2 * 1.8 * 20


@pytest.mark.parametrize("passed_s", [6, 8, 15, 30, 60])
def test_a_step_leads_nowhere_and_what_was_before_it_is_not_believed_again(passed_s):
    stepped = traffic_of([40.0] * 120 + [80.0] * passed_s)

    assert stepped.rise is None
    assert stepped.ahead_per_s(20.0) == stepped.rate_per_s
    assert stepped.span_s <= passed_s + 3


@pytest.mark.parametrize(("rate", "times"), [(5.0, 2.0), (20.0, 1.5), (20.0, 2.0)])
def test_a_step_among_few_events_is_rarely_read_as_a_slope(rate, times):
    def misread(seed: int) -> bool:
        traffic = traffic_of([rate] * 60 + [rate * times], seed)
        random = np.random.default_rng(seed + 1000)
        for _ in range(19):
            traffic = traffic.after(random.poisson(rate * times / 2, 2).tolist(), 1.0)
            if traffic.rise is not None:
                return True
        return False

    assert sum(misread(seed) for seed in range(30)) <= 6


def test_a_steep_rise_among_few_events_is_noticed_before_it_is_over():
    def noticed(seed: int) -> bool:
        rising = [
            traffic_of([20.0] * 60 + [20.0 + 2 * second for second in range(past_s)], seed) for past_s in (15, 18, 21)
        ]
        return any(each.rise is not None for each in rising)

    assert sum(noticed(seed) for seed in range(20)) >= 16


def test_what_has_risen_leads_nowhere_any_more():
    risen = traffic_of([36.0] * 60 + [36 + 1.8 * second for second in range(60)] + [144.0] * 20)

    assert risen.rate_per_s == pytest.approx(144, rel=0.1)
    assert risen.ahead_per_s(20.0) < 1.1 * 144


def test_noise_rarely_looks_like_a_rise():
    random, traffic, seen = np.random.default_rng(5), Traffic(), 0
    for _ in range(2000):
        traffic = traffic.after(random.poisson(18, 2).tolist(), 1.0)
        seen += traffic.rise is not None

    assert seen <= 20


@pytest.mark.parametrize("counts", [[7, 5, 3, 2], [4, 4, 9]])
def test_counts_of_any_parts_add_up(counts):
    assert sum(Traffic().after(counts, 1.0).halves) == sum(counts)


def heaps_of(per_tenth: list[int], seconds: int) -> Traffic:
    """Return the traffic of a second's tenths, again and again."""
    traffic = Traffic()
    for _ in range(seconds):
        halves = [sum(per_tenth[:5]), sum(per_tenth[5:])]
        traffic = traffic.after(halves, 1.0, per_tenth)
    return traffic


def test_given_a_heap_each_half_second_when_counted_by_tenth_then_it_is_no_calm_traffic():
    heaped = heaps_of([0, 50, 0, 0, 0, 0, 50, 0, 0, 0], 60)

    assert heaped.rate_per_s == pytest.approx(100)
    assert heaped.dispersion == pytest.approx(0.1)
    assert 16 < heaped.heaped < 50


def test_given_one_heap_a_minute_ago_then_it_is_not_forgotten_yet_but_less_and_less():
    traffic = heaps_of([0, 200, 0, 0, 0, 0, 0, 0, 0, 0], 1)
    first = traffic.heaped
    for _ in range(60):
        traffic = traffic.after([1, 1], 1.0, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0])

    assert first > 32
    assert 0.5 * first < traffic.heaped


@pytest.mark.parametrize("scv", [1.0, 4.0])
def test_given_traffic_without_heaps_then_what_is_sure_of_its_dispersion_is_rarely_more_than_it_is(scv):
    arrivals = gamma_arrivals(120.0, scv, 120 * 400, 5)
    counts = np.histogram(arrivals, bins=np.arange(0.0, 300.01, 0.1))[0].reshape(-1, 10)
    traffic, sure = Traffic(), []
    for tenths in counts:
        traffic = traffic.after([tenths[:5].sum(), tenths[5:].sum()], 1.0, tenths.tolist())
        sure.append(max(traffic.heaped, traffic.at_least))

    assert np.mean(np.array(sure) > 1.1 * scv) < 0.05


def test_given_a_step_then_it_is_no_heap():
    random, traffic = np.random.default_rng(4), Traffic()
    for second in range(60):
        tenths = random.poisson(4.0 if second < 30 else 16.0, 10).tolist()
        traffic = traffic.after([sum(tenths[:5]), sum(tenths[5:])], 1.0, tenths)
        assert max(traffic.heaped, traffic.at_least) < 2.5


def test_given_nobody_who_tells_tenths_then_nothing_is_said_of_heaps():
    assert heaps_of([0, 50, 0, 0, 0, 0, 50, 0, 0, 0], 5).heaped > 0
    assert Traffic().after([50, 50], 1.0).after([50, 50], 1.0).heaped == 0
