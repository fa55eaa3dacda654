from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import PIPELINE, decision

from guidevane.errors import Misconfigured
from guidevane.monitors.concept import ConceptDrift
from guidevane.monitors.drift import Drift
from guidevane.monitors.fairness import DemographicParity
from guidevane.monitors.monitor import Declared, Monitor, Seen, watch
from guidevane.monitors.quality import Quality

EVERYTHING = (
    Quality(window=20, categories={"sex": ("F", "M")}),
    Drift(signal="all", delta=0.1),
    ConceptDrift(delta=0.1),
    DemographicParity(by=("sex",), window=40, min_group=5),
)


def live(*declared: Any) -> list[Monitor]:
    return [monitor for _, monitor in watch(declared, PIPELINE)]


def told(monitor: Monitor, values: list[Any]) -> list[int]:
    """Return the places at which it spoke."""
    return [at for at, value in enumerate(values) if monitor.observe(Seen(f"e{at}", at, value))]


def outcome(label: float, *, positive: bool, revision: int = 0, kind: str = "full") -> dict[str, Any]:
    return {"label": label, "positive": positive, "revision": revision, "outcome": kind}


def stream(rng: random.Random, n: int) -> dict[str, list[Any]]:
    """Return events with a change in the middle of everything that is watched."""
    late = [at > n // 2 for at in range(n)]
    return {
        "accepted": [
            {
                "id": "x",
                "age": None if rng.random() < 0.1 + 0.5 * b else rng.gauss(40 + 60 * b, 5),
                "hours": rng.random() + b,
                "sex": rng.choice("FM" if not b else "FMX"),
            }
            for b in late
        ],
        "decisions": [
            decision(
                "d",
                positive=rng.random() < (0.7 if b and sex == "M" else 0.3),
                sex=sex,
                score=rng.random() * (1 - b / 2),
            )
            for b in late
            for sex in [rng.choice("FM")]
        ],
        "outcomes": [outcome(float(rng.random() < 0.2 + 0.5 * b), positive=False) for b in late],
    }


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32), st.integers(0, 1200))
def test_given_a_restart_anywhere_every_monitor_goes_on_as_if_there_was_none(seed, cut):
    values = stream(random.Random(seed), 1200)

    for whole, first, second in zip(live(*EVERYTHING), live(*EVERYTHING), live(*EVERYTHING), strict=True):
        seen = [Seen(f"e{at}", at, value) for at, value in enumerate(values[whole.reads])]
        expected = [whole.observe(each) for each in seen]
        found = [first.observe(each) for each in seen[:cut]]
        second.restore(orjson.loads(orjson.dumps(first.state())))
        found += [second.observe(each) for each in seen[cut:]]

        assert found == expected, whole.name
        assert second.state() == whole.state(), whole.name


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from(["age", "hours", "sex", "score"]), scalars), max_size=60))
def test_given_any_values_of_an_event_quality_and_drift_never_break(values):
    for monitor in live(Quality(window=3, categories={"sex": ("F",)}), Drift(signal="all")):
        told(monitor, values)


def test_given_a_field_that_goes_missing_quality_tells_once_and_again_after_it_was_fine():
    [age] = live(Quality(fields=("age",), max_missing_share=0.5, window=10))
    fine, gone = {"age": 30.0}, {"age": None}

    assert told(age, [fine] * 10 + [gone] * 30 + [fine] * 10 + [gone] * 10) == [15, 55]


@pytest.mark.parametrize(
    ("value", "fault"), [(None, "missing"), (float("nan"), "missing"), (101.0, "out_of_range"), (-1, "out_of_range")]
)
def test_given_values_of_one_fault_the_alert_has_its_share(value, fault):
    [age] = live(Quality(fields=("age",), window=10))

    alerts = [age.observe(Seen(f"e{at}", at, {"age": value})) for at in range(10)]

    assert alerts[:9] == [None] * 9
    assert alerts[9] is not None
    assert alerts[9]["evidence"][f"{fault}_share"] == 1.0


def test_given_two_faults_at_once_both_are_told_one_after_the_other():
    [age] = live(Quality(fields=("age",), window=10))

    assert told(age, [{"age": None}, {"age": 500.0}] * 10) == [9, 10]


def test_given_a_category_nobody_declared_quality_tells():
    [sex] = live(Quality(fields=("sex",), window=10, categories={"sex": ("F", "M")}))

    assert told(sex, [{"sex": "F"}] * 10 + [{"sex": "?"}]) == [10]


def test_given_a_score_that_moves_drift_tells_soon_and_shows_both_means():
    rng = random.Random(3)
    [score] = live(Drift())
    values = [{"score": rng.random() * 0.5} for _ in range(3000)] + [
        {"score": 0.4 + rng.random() * 0.5} for _ in range(400)
    ]

    alerts = [alert for at, value in enumerate(values) if (alert := score.observe(Seen(f"e{at}", at, value)))]

    assert len(alerts) >= 1
    assert alerts[0]["event_id"] > "e3000"
    assert alerts[0]["evidence"]["before"] == pytest.approx(0.25, abs=0.02)
    # ADWIN cuts as early as it dares: what it keeps still holds some of the old values.
    assert alerts[0]["evidence"]["after"] > 0.3


@pytest.mark.parametrize(("before", "after"), [(40.0, 30.0), (40.0, 50.0), (0.0, -0.3), (-1e6, -8e5), (5e-9, 1e-9)])
def test_given_a_value_that_never_changed_drift_tells_of_it_whichever_way_it_goes(before, after):
    [hours] = live(Drift(signal="hours"))
    assert told(hours, [{"hours": before}] * 2000) == []
    [at] = told(hours, [{"hours": after}] * 400)
    assert at < 200


def test_given_a_score_that_stays_drift_is_silent():
    rng = random.Random(3)
    [score] = live(Drift())

    assert told(score, [{"score": rng.random()} for _ in range(20_000)]) == []


def test_given_errors_that_rise_concept_drift_tells_and_of_errors_that_fall_it_does_not():
    rng = random.Random(5)
    rising, falling = live(ConceptDrift())[0], live(ConceptDrift())[0]
    few, many = ([outcome(float(rng.random() < p), positive=False) for _ in range(2000)] for p in (0.1, 0.4))

    first = told(rising, few + many)

    assert len(first) == 1
    assert 2000 < first[0] < 2300
    assert told(falling, many + few) == []


def test_given_corrections_and_decisions_without_a_model_concept_drift_does_not_count_them():
    [errors] = live(ConceptDrift())
    before = errors.state()

    told(errors, [outcome(1.0, positive=False, revision=1), outcome(1.0, positive=False, kind="shed")] * 100)

    assert errors.state() == before


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("FMX"), st.booleans()), min_size=1, max_size=120))
def test_given_any_decisions_parity_has_the_gap_of_the_last_window_counted_by_hand(pairs):
    [parity] = live(DemographicParity(by=("sex",), window=30, max_gap=0.0, min_group=3))
    last = pairs[-30:]
    shares = [
        sum(positive for _, positive in mine) / len(mine)
        for group in "FMX"
        if len(mine := [pair for pair in last if pair[0] == group]) >= 3
    ]

    told(parity, [decision("e", positive=positive, sex=sex) for sex, positive in pairs])

    assert parity._gap() == (max(shares) - min(shares) if shares else 0.0)


def test_given_a_gap_that_stays_parity_tells_once():
    [parity] = live(DemographicParity(by=("sex",), window=200, max_gap=0.3, min_group=20))
    unfair = [decision("e", positive=sex == "M", sex=sex) for sex in "FM" * 500]

    alerts = [alert for at, value in enumerate(unfair) if (alert := parity.observe(Seen(f"e{at}", at, value)))]

    assert [alert["event_id"] for alert in alerts] == ["e39"]
    assert alerts[0]["evidence"] == {
        "gap": 1.0, "max_gap": 0.3, "decisions": 40.0, "share.M": 1.0, "n.M": 20.0, "share.F": 0.0, "n.F": 20.0
    }  # fmt: skip


def test_given_decisions_shed_or_without_the_attribute_parity_does_not_count_them():
    [parity] = live(DemographicParity(by=("sex",)))

    told(parity, [decision("e", sex=None), {**decision("e"), "outcome": "shed"}])

    assert parity.state()["last"] == []


def test_given_the_same_event_twice_the_alert_has_the_same_id():
    ids = set()
    for _ in range(2):
        [age] = live(Quality(fields=("age",), window=1))
        alert = age.observe(Seen("e1", 1, {"age": None}))
        assert alert is not None
        ids.add(alert["alert_id"])

    assert len(ids) == 1


def test_given_names_the_event_does_not_have_every_mistake_is_told_at_once():
    declared = [Quality(fields=("aeg",)), Drift(signal="hour"), DemographicParity(by=("race",)), Drift(signal="score")]

    with pytest.raises(Misconfigured) as wrong:
        watch(declared, PIPELINE)

    assert str(wrong.value).splitlines() == [
        "quality.fields: there is no field 'aeg' → write 'age'",
        "drift.signal: there is no numeric signal 'hour' → write 'hours'",
        "parity.by: there is no protected attribute 'race' → one of: sex",
        "monitors: 2 monitors have the name 'drift' → give each its own name=...",
    ]


def test_given_a_state_of_another_river_the_monitor_refuses_it():
    [score] = live(Drift())
    state = score.state()
    state["adwin"]["river"] = "0.1"

    with pytest.raises(Misconfigured, match=r"written by river 0\.1"):
        score.restore(state)


def test_given_a_monitor_of_every_kind_each_declaration_is_one():
    assert all(isinstance(each, Declared) for each in EVERYTHING)
    assert [monitor.name for monitor in live(*EVERYTHING)] == [
        "quality.id", "quality.age", "quality.hours", "quality.sex", "drift.score", "drift.age", "drift.hours",
        "concept_drift", "parity.sex",
    ]  # fmt: skip
