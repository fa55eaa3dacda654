from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import decision, label

from guidevane.monitors.monitor import Batch, Seen
from guidevane.monitors.outcomes import KEPT, OutcomeJoin, constants

if TYPE_CHECKING:
    from guidevane.events import Decision, Outcome

S = 1_000_000
EVENTS = [f"e{number}" for number in range(6)]

# What arrives: decisions (repeated as at-least-once delivery does), labels and corrections without a time.
arrivals = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0]))), max_size=60
)


def play(join: OutcomeJoin, arriving: list[tuple[str, float | None]]) -> list[Outcome]:
    found = [
        join.decide(decision(event_id), written_at_us=10)
        if value is None
        else join.label(label(event_id, value), written_at_us=10)
        for event_id, value in arriving
    ]
    return [outcome for outcome in found if outcome is not None]


def final(outcomes: list[Outcome]) -> dict[str, float]:
    return {outcome["event_id"]: outcome["label"] for outcome in outcomes}


def offline(arriving: list[tuple[str, float | None]]) -> dict[str, float]:
    last = {event_id: value for event_id, value in arriving if value is not None}
    decided = {event_id for event_id, value in arriving if value is None}
    return {event_id: value for event_id, value in last.items() if event_id in decided}


@given(arrivals)
def test_given_any_interleaving_with_duplicates_and_corrections_the_last_outcomes_are_the_offline_join(arriving):
    outcomes = play(OutcomeJoin(), arriving)

    assert final(outcomes) == offline(arriving)


@given(arrivals)
def test_given_any_interleaving_revisions_count_up_from_zero_and_never_repeat_a_label(arriving):
    outcomes = play(OutcomeJoin(), arriving)

    for event_id in EVENTS:
        mine = [outcome for outcome in outcomes if outcome["event_id"] == event_id]
        assert [outcome["revision"] for outcome in mine] == list(range(len(mine)))
        assert all(a["label"] != b["label"] for a, b in itertools.pairwise(mine))


@given(
    st.dictionaries(
        st.sampled_from(EVENTS),
        st.lists(
            st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.0])), min_size=1, max_size=4, unique_by=lambda x: x[0]
        ),
    ),
    st.randoms(use_true_random=False),
)
def test_given_labels_that_say_when_they_became_known_any_shuffle_ends_with_the_newest(known, rng):
    arriving: list[Any] = [decision(event_id) for event_id in known]
    arriving += [label(event_id, value, at_us) for event_id, labels in known.items() for at_us, value in labels * 2]
    rng.shuffle(arriving)
    join = OutcomeJoin()

    found = [
        join.label(each, written_at_us=10) if "label" in each else join.decide(each, written_at_us=10)
        for each in arriving
    ]

    assert final([each for each in found if each]) == {event_id: max(labels)[1] for event_id, labels in known.items()}


@given(arrivals, arrivals)
def test_given_a_restart_in_the_middle_nothing_changes(before, after):
    whole = OutcomeJoin(max_pending=4)
    expected = play(whole, before + after)
    first, second = OutcomeJoin(max_pending=4), OutcomeJoin(max_pending=4)

    found = play(first, before)
    second.restore(orjson.loads(orjson.dumps(first.state())))
    found += play(second, after)

    assert found == expected
    assert second.state() == whole.state()


def test_given_a_label_after_its_ttl_of_event_time_the_join_has_forgotten_the_decision():
    join = OutcomeJoin(ttl_s=60.0)
    join.decide(decision("old", at_us=0), written_at_us=200 * S)
    join.decide(decision("new", at_us=61 * S), written_at_us=200 * S)

    assert join.label(label("old", 1.0), written_at_us=200 * S) is None
    assert join.counts.unlabelled == 1


def test_given_one_event_from_the_future_the_others_are_not_expired_by_it():
    join = OutcomeJoin(ttl_s=60.0)
    join.decide(decision("now", at_us=5 * S), written_at_us=10 * S)
    join.decide(decision("skewed", at_us=3600 * S), written_at_us=10 * S)

    assert join.label(label("now", 1.0), written_at_us=11 * S)


def test_given_labels_read_far_ahead_of_their_decisions_each_still_meets_its_decision():
    join = OutcomeJoin(ttl_s=60.0)
    for number in range(10):
        join.label(label(f"e{number}", 1.0), written_at_us=number * 3600 * S + S)

    found = [join.decide(decision(f"e{n}", at_us=n * 3600 * S), written_at_us=n * 3600 * S) for n in range(10)]

    assert all(found)


@given(arrivals, st.integers(1, 5))
def test_given_any_arrivals_no_more_is_remembered_than_allowed(arriving, most):
    join = OutcomeJoin(max_pending=most)

    play(join, arriving)

    assert join.counts.pending <= most


# Numbers of events, and when they were: of a handful, so that they repeat, or of many, so that they do not.
several = st.one_of(
    *(st.lists(st.tuples(st.integers(0, most), st.integers(0, 30)), max_size=12) for most in (9, 10**6, 10**6))
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["decisions", "decisions", "labels"]), several), max_size=12),
    st.integers(1, 30),
    st.integers(0, 40),
)
def test_given_decisions_in_any_batches_the_join_is_that_of_one_after_the_other(arriving, most, ttl_s):
    whole, cut = (OutcomeJoin(ttl_s=ttl_s, max_pending=most) for _ in range(2))
    for what, events in arriving:
        if what == "labels":
            for number, at in events:
                told = [each.label(label(f"e{number}", 1.0), written_at_us=at * S) for each in (whole, cut)]
                assert told[0] == told[1]
            continue
        decisions = [decision(f"e{number}", at_us=at * S) for number, at in events]
        ids, written_at_us = [each["event_id"] for each in decisions], [25 * S] * len(decisions)
        before = whole.counts.duplicates
        expected = [whole.decide(each, written_at_us=25 * S) for each in decisions]

        first, outcomes = cut.decide_all(ids, constants(batch(decisions)), written_at_us=written_at_us)

        assert len(decisions) - len(first) == whole.counts.duplicates - before
        assert [(first[place], outcome) for place, outcome in outcomes] == [
            (place, outcome) for place, outcome in enumerate(expected) if outcome
        ]
        assert cut.state() == whole.state()
    assert cut.counts == whole.counts


def batch(decisions: list[Decision]) -> Batch:
    columns = {name: [cast("Any", each)[name] for each in decisions] for name in KEPT}
    return Batch(decisions, columns, lambda at: Seen(decisions[at]["event_id"], 0, cast("Any", decisions[at])))


def test_given_many_decisions_a_score_that_json_cannot_hold_is_none():
    scores = np.array([0.5, float("nan"), 0.25])
    columns = {**{name: [None] * 3 for name in KEPT}, "score": scores, "probability": scores}
    read = Batch(scores, columns, lambda at: Seen("e", at, {}))

    assert [each[KEPT.index("score")] for each in constants(read)] == [0.5, None, 0.25]
    assert [each[KEPT.index("probability")] for each in constants(read.some([0, 2]))] == [0.5, 0.25]


def test_given_a_score_that_json_cannot_hold_the_outcome_has_none():
    join = OutcomeJoin()
    join.decide(decision("e1", score=float("nan")), written_at_us=1)

    outcome = join.label(label("e1", 1.0), written_at_us=1)

    assert outcome is not None
    assert outcome["score"] is None
