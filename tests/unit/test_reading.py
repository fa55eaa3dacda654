"""What a reader of outcomes is promised, whatever zombies wrote."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane import FirstOutcomes, Misconfigured, read_effective
from guidevane.log import Record
from guidevane.reading import ORIGIN, STAGE, WINDOW


def outcome(offset: int, origin: int, *, by: str = "", partition: int = 0) -> Record:
    return Record("p.decisions", partition, offset, None, by.encode(), ((ORIGIN, b"%d" % origin),))


def log_of(*written: tuple[str, int]) -> list[Record]:
    return [outcome(offset, origin, by=by) for offset, (by, origin) in enumerate(written)]


def test_the_first_outcome_counts_and_a_zombies_second_one_is_left_out():
    records = log_of(("owner", 0), ("owner", 1), ("zombie", 1), ("zombie", 2), ("owner", 2), ("owner", 3))
    assert [(r.value, r.offset) for r in read_effective(records)] == [
        (b"owner", 0), (b"owner", 1), (b"zombie", 3), (b"owner", 5),
    ]  # fmt: skip


def test_an_event_that_a_zombie_passed_over_keeps_its_outcome():
    # The zombie gave event 1 up (its dead letter never arrived) and decided 2 and 3; the owner decides 1.
    # A reader that knew only the highest origin would lose it.
    records = log_of(("zombie", 0), ("zombie", 2), ("zombie", 3), ("owner", 1), ("owner", 2), ("owner", 3))
    assert [r.offset for r in read_effective(records)] == [0, 1, 2, 3]


async def test_it_reads_what_comes_asynchronously():
    async def arriving():
        for record in log_of(("a", 0), ("b", 0), ("a", 1)):
            yield record

    assert [r.offset async for r in read_effective(arriving())] == [0, 2]


def test_partitions_and_topics_are_told_apart():
    records = [outcome(0, 5), outcome(0, 5, partition=1), outcome(0, 5)._replace(topic="p.dlq")]
    assert list(read_effective(records)) == records


def letter(offset: int, origin: int, stage: str) -> Record:
    return Record("p.dlq", 0, offset, None, b"", ((STAGE, stage.encode()), (ORIGIN, b"%d" % origin)))


def test_a_stage_that_is_far_behind_another_has_its_letters_read_all_the_same():
    # Ingest runs on while inference is down: what dies there later is far older than what died in ingest.
    records = [letter(0, 5, "ingest"), letter(1, 5 * WINDOW, "ingest"), *[letter(n, 7, "inference") for n in (2, 3)]]
    assert [r.offset for r in read_effective(records)] == [0, 1, 2]


def test_what_one_stage_gave_up_is_not_given_up_again_by_another_also_behind_a_restart():
    records = [letter(0, 5, "ingest"), letter(1, 5, "inference"), letter(2, 6, "inference"), letter(3, 6, "ingest")]
    assert [r.offset for r in read_effective(records)] == [0, 2]
    held = FirstOutcomes()
    before = [r.offset for r in read_effective(records[:1], outcomes=held)]
    again = FirstOutcomes.restored(json.loads(json.dumps(held.state())))
    assert before + [r.offset for r in read_effective(records[1:], outcomes=again)] == [0, 2]


def test_a_state_kept_before_stages_were_told_apart_still_counts():
    held = FirstOutcomes()
    held.first("p.dlq", 0, 5)
    old = held.state()
    old["partitions"] = [kept[:4] for kept in old["partitions"]]
    assert list(read_effective([letter(0, 5, "ingest")], outcomes=FirstOutcomes.restored(old))) == []


def test_a_record_that_is_nobodys_outcome_is_passed_on():
    strange = [Record("p.decisions", 0, i, None, b"", headers) for i, headers in enumerate(
        [(), ((ORIGIN, b"soon"),), ((ORIGIN, b"-1"),), ((ORIGIN, b"9" * 400),)]
    )]  # fmt: skip
    assert list(read_effective(strange)) == strange


def test_records_of_other_clients_do():
    # confluent-kafka's are methods, and its headers may be None.
    told = [
        SimpleNamespace(topic=lambda: "t", partition=lambda: 0, headers=lambda o=o: [(ORIGIN, b"%d" % o)])
        for o in (1, 1)
    ]
    assert list(read_effective(told)) == told[:1]


def test_a_window_that_remembers_nothing_is_refused():
    with pytest.raises(Misconfigured, match="a window of 0 origins remembers nothing"):
        FirstOutcomes(0)


@given(st.lists(st.integers(0, 200), max_size=300), st.integers(1, 64))
def test_nothing_is_ever_yielded_twice_whatever_stands_on_the_topic(origins, window):
    yielded = [r.headers for r in read_effective(log_of(*(("", o) for o in origins)), outcomes=FirstOutcomes(window))]
    assert len(yielded) == len(set(yielded))


@given(st.lists(st.integers(0, 200), max_size=200), st.integers(0, 200), st.integers(1, 64))
def test_a_reader_that_goes_on_with_its_state_reads_as_one_that_never_stopped(origins, cut, window):
    records = log_of(*(("", o) for o in origins))
    whole = list(read_effective(records, outcomes=FirstOutcomes(window)))
    before = FirstOutcomes(window)
    parts = list(read_effective(records[:cut], outcomes=before))
    after = FirstOutcomes.restored(json.loads(json.dumps(before.state())))
    assert parts + list(read_effective(records[cut:], outcomes=after)) == whole


@st.composite
def histories(draw) -> tuple[int, int, list[tuple[str, int]], set[int]]:
    """What can stand on a topic of decisions and on the dead letters beside it, by the rules of the engine.

    Owners follow each other. Each begins with what nobody has answered when it takes over, answers events in
    order (a decision, or a dead letter: it depends on the day), and has at most ``flight`` of them under way.
    Of what was under way when it lost its place, any prefix may still arrive, on each of the two topics for
    itself, at any later time: that is a zombie.
    """
    count, flight = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    decisions: list[tuple[str, int]] = []
    letters: set[int] = set()
    late: list[list[tuple[str, int]]] = []

    def arrive() -> None:
        for queue in late:
            for _ in range(draw(st.integers(0, len(queue)))):
                write(*queue.pop(0))

    def write(kind: str, origin: int) -> None:
        if kind == "letter":
            letters.add(origin)
        else:
            decisions.append((kind, origin))

    for owner in range(draw(st.integers(1, 4))):
        arrive()
        answered = {origin for _, origin in decisions} | letters
        todo = [origin for origin in range(count) if origin not in answered]
        lands = draw(st.integers(0, len(todo))) if owner else draw(st.integers(0, count))
        for origin in todo[:lands]:
            write(draw(st.sampled_from(["letter", f"owner {owner}"])), origin)
            if draw(st.integers(0, 5)) == 0:
                arrive()
        under_way = [
            (draw(st.sampled_from(["letter", f"zombie {owner}"])), origin) for origin in todo[lands : lands + flight]
        ]
        late.append([each for each in under_way if each[0] == "letter"])
        late.append([each for each in under_way if each[0] != "letter"])
    arrive()
    answered = {origin for _, origin in decisions} | letters
    for origin in range(count):
        if origin not in answered:
            write("last", origin)
            if draw(st.integers(0, 5)) == 0:
                arrive()
    return count, flight, decisions, letters


@given(histories())
def test_every_event_that_was_decided_is_read_once_and_it_is_its_first_decision(history):
    count, flight, decisions, letters = history
    records = log_of(*decisions)
    # At most four zombies, each with as much under way as it may have.
    kept = list(read_effective(records, outcomes=FirstOutcomes(5 * flight)))
    read = [int(r.headers[0][1]) for r in kept]
    assert len(read) == len(set(read)), "none is read twice"
    # Of one that is dead-lettered already, a zombie may decide as late as it likes: it has its outcome.
    decided = {origin for _, origin in decisions}
    assert decided - letters <= set(read) <= decided
    assert set(read) | letters == set(range(count)), "none is lost"
    firsts = {origin: offset for offset, (_, origin) in reversed(list(enumerate(decisions)))}
    assert [r.offset for r in kept] == sorted(firsts[origin] for origin in read), "and what is read is its first"
