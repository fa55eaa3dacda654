"""Given what was seen, when fetch waits are decided, then they follow the objective's rest, and come to rest."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.observation import HOT, Observation, StageSeen
from guidevane.control.waiting import FETCH_WAITS_S, FetchWaits, Intents

WAITS = FetchWaits(within_s=0.2)


def seen(at_s: float = 0.0, *, p99: float | None = 0.06, wait_s: float = 0.012) -> Observation:
    stages = tuple(
        StageSeen(name=name, fetches=True, records=500, age_p99_s=p99, settings={"fetch_wait_s": wait_s})
        for name in HOT
    )
    return Observation(at_us=int(at_s * 1e6), pipeline="p", stages=stages)


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_given_less_to_spare_then_the_wait_is_never_longer(a, b) -> None:
    low, high = sorted((a, b))

    assert WAITS.wait_s(low) <= WAITS.wait_s(high)


@given(st.floats(0.01, 0.4), st.floats(0.0, 0.05), st.sampled_from(FETCH_WAITS_S))
def test_given_a_way_that_takes_its_time_when_waits_follow_then_they_come_to_rest(way_s, noise_s, wait_s) -> None:
    intents, changes = Intents(), []
    for second in range(200):
        now = seen(second, p99=way_s + wait_s + noise_s * (second % 2) * 0.1, wait_s=wait_s)
        sets, intents = WAITS(now, intents)
        if sets:
            wait_s = sets[0].value
            changes.append(second)

    assert len(changes) <= 2
    assert not [second for second in changes if second > 60]


def test_given_an_objective_that_is_missed_then_waits_fall_at_once_and_before_with_patience() -> None:
    late, _ = WAITS(seen(p99=0.21, wait_s=0.04), Intents())
    near, waiting = WAITS(seen(p99=0.19, wait_s=0.05), Intents())

    assert {each.value for each in late} == {0.030}
    assert near == []
    assert set(waiting.of) == {f"{name}.fetch_wait_s" for name in HOT}


def test_given_a_way_that_would_be_late_without_any_wait_then_it_waits_longer_until_it_is_late_no_more() -> None:
    intents, wait_s = Intents(), 0.02
    for second in range(12):
        sets, intents = WAITS(seen(second, p99=0.4, wait_s=wait_s), intents)
        wait_s = sets[0].value if sets else wait_s
    still, _ = WAITS(seen(p99=0.21, wait_s=wait_s), Intents())

    assert wait_s == 0.05
    assert still == []
    relieved = Intents()
    for second in range(12):
        sets, relieved = WAITS(seen(second, p99=0.18, wait_s=wait_s), relieved)
        wait_s = sets[0].value if sets else wait_s
    assert wait_s == 0.03


def test_given_few_events_then_no_percentile_is_trusted() -> None:
    few = seen(p99=5.0)
    few = replace(few, stages=tuple(replace(each, records=3) for each in few.stages))

    assert WAITS(few, Intents()) == ([], Intents())


def test_given_a_setting_that_a_person_made_then_it_stays() -> None:
    theirs = seen(p99=5.0)
    theirs = replace(theirs, stages=tuple(replace(each, settings_by="ada") for each in theirs.stages))

    assert WAITS(theirs, Intents())[0] == []
