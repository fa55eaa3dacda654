"""The oracle of the commits: a group's place never goes back, and never runs ahead of the answers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guidevane.ledger.finding import Finding, Oracle
from guidevane.ledger.held import id_of, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guidevane.ledger.held import Commit, Held
    from guidevane.log import Record

_Answers = dict[tuple[str, int, int | None], int]


def back(held: Held) -> Iterator[Finding]:
    """Tell of each commit that is lower than one before: of all, or, where Kafka was not asked, of those seen."""
    for looks in _by_place(held.placed or held.commits).values():
        reached = -1
        for look in looks:
            if look.offset < reached:
                yield Finding(Oracle.COMMIT, "", f"{_where(look)} went back from {reached} to {look.offset}")
            reached = max(reached, look.offset)


def ahead(held: Held) -> Iterator[Finding]:
    """Tell of each record that was committed before it was answered."""
    answers = _answers(held)
    inputs: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for topic in {commit.topic for commit in held.commits}:
        for record in held.records.get(topic, ()):
            inputs[topic, record.partition].append(record)
    for (_, topic, number), looks in _by_place(held.commits).items():
        yield from _ahead_of_one(looks, inputs[topic, number], answers, held)


def _by_place(commits: Sequence[Commit]) -> dict[tuple[str, str, int], list[Commit]]:
    """Return each group's places in a partition, in order."""
    seen: dict[tuple[str, str, int], list[Commit]] = defaultdict(list)
    for commit in commits:
        seen[commit.group, commit.topic, commit.partition].append(commit)
    return seen


def _where(look: Commit) -> str:
    return f"{look.group} in {look.topic}/{look.partition}"


def _ahead_of_one(
    looks: Sequence[Commit], records: Sequence[Record], answers: _Answers, held: Held
) -> Iterator[Finding]:
    index = 0
    for look in looks:
        while index < len(records) and records[index].offset < look.offset:
            record = records[index]
            if not _answered(record, look.ends, answers, held):
                says = f"{_where(look)} was {look.offset}, {record.offset} unanswered"
                yield Finding(Oracle.COMMIT, id_of(record), says)
            index += 1


def _answered(record: Record, ends: Mapping[str, int], answers: _Answers, held: Held) -> bool:
    origin = record.offset if record.topic == held.topics.events else origin_of(record)
    for topic, end in ends.items():
        at = answers.get((topic, record.partition, origin))
        if at is not None and at < end:
            return True
    # An event that was sent twice is answered where it was sent first, and nothing more is written.
    place = held.places.get(id_of(record))
    return record.topic == held.topics.events and place is not None and place != (record.partition, record.offset)


def _answers(held: Held) -> _Answers:
    """Return where each origin is answered first, by topic and partition."""
    found: _Answers = {}
    for topic in (*held.inside, held.topics.decisions, held.topics.dlq):
        for record in held.records[topic]:
            found.setdefault((topic, record.partition, origin_of(record)), record.offset)
    return found
