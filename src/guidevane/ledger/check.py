"""The checker: every oracle of the delivery promise, over what Kafka holds against the ledger kept outside it.

Pure: anyone can run it again on the same records. It shares no rule with the engine that it judges.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidevane.ledger import commits, letters
from guidevane.ledger.finding import Finding, Oracle
from guidevane.ledger.held import REDRIVE, id_of, origin_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from guidevane.ledger.held import Held
    from guidevane.ledger.ledger import Entry
    from guidevane.log import Record

__all__ = ["Allowance", "Finding", "Oracle", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a fault excuses.

    ``behind_zombie``: a zombie may write a second outcome behind the first one, which no reader is shown.
    ``places_forgotten``: a broker that lost its disk may tell of commits that are older than what it told before.
    """

    behind_zombie: bool = False
    places_forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many events were judged, what was written again or went back, and everything that is wrong.

    ``commits_back``: how often a commit was seen to be lower than before.
    """

    events: int
    decisions: int
    dead_letters: int
    repeats: int
    findings: tuple[Finding, ...] = ()
    commits_back: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether the promise was kept."""
        return not self.findings

    def count(self, oracle: Oracle) -> int:
        """Return how often one oracle spoke."""
        return sum(finding.oracle is oracle for finding in self.findings)

    def counts(self) -> dict[str, int]:
        """Return how often each oracle spoke, silent ones left out."""
        return dict(Counter(str(finding.oracle) for finding in self.findings))


def judge(
    entries: Mapping[str, Entry], held: Held, *, earlier: Container[str] = (), allowing: Allowance | None = None
) -> Verdict:
    """Hold what Kafka holds against the ledger.

    ``earlier`` are the ids of events that were judged before: an outcome of theirs that appears now
    is a repeat, one of an id that nobody has sent is a ghost.
    """
    allowed = allowing or Allowance()
    repeats = list(_repeats(entries, held, earlier))
    back = list(commits.back(held))
    findings = itertools.chain(
        _lost(entries, held),
        _twice(entries, held),
        _conflicting(entries, held, allowed),
        () if allowed.behind_zombie else repeats,
        _unordered(entries, held),
        _misplaced(entries, held),
        _unexpected(entries, held),
        letters.wrong(held),
        _ghosts(entries, held, earlier),
        () if allowed.places_forgotten else back,
        commits.ahead(held),
    )
    return Verdict(
        sum(entry.offset is not None for entry in entries.values()),
        len(entries.keys() & held.decisions.keys()),
        len(entries.keys() & held.letters.keys()),
        len(repeats),
        tuple(findings),
        len(back),
    )


def _lost(entries: Mapping[str, Entry], held: Held) -> Iterator[Finding]:
    for event_id, entry in entries.items():
        place = held.places.get(event_id)
        if place is None and entry.offset is not None:
            yield Finding(Oracle.LOST, event_id, f"acknowledged at {entry.partition}/{entry.offset}, and not there")
        # What Kafka has written without saying so is an event like any other.
        elif place is not None and event_id not in held.decisions and event_id not in held.letters:
            yield Finding(Oracle.LOST, event_id, f"at {place[0]}/{place[1]}, without decision and without dead letter")


def _twice(entries: Mapping[str, Entry], held: Held) -> Iterator[Finding]:
    # A reader takes the first outcome of an event in a partition: only another partition could show it a second.
    for event_id in entries:
        where = {record.partition for record in held.decisions.get(event_id, ())}
        if len(where) > 1:
            yield Finding(Oracle.TWICE, event_id, f"decided on partitions {sorted(where)}")


def _conflicting(entries: Mapping[str, Entry], held: Held, allowed: Allowance) -> Iterator[Finding]:
    for event_id in entries:
        made = held.decisions.get(event_id, ())
        if made and event_id in held.letters and not _withdrawn(held.letters[event_id], made):
            yield Finding(Oracle.CONFLICT, event_id, "a decision and a dead letter")
        contents = {record.value for record in made}
        if len(contents) > 1 and not allowed.behind_zombie:
            yield Finding(Oracle.CONFLICT, event_id, f"{len(contents)} decisions that differ")


def _withdrawn(letters_: Sequence[Record], made: Sequence[Record]) -> bool:
    """Tell whether each decision says that it redrives one of the letters (decision 0006)."""
    places = {f"{letter.partition}/{letter.offset}".encode() for letter in letters_}
    return all(record.header(REDRIVE) in places for record in made)


def _repeats(entries: Mapping[str, Entry], held: Held, earlier: Container[str]) -> Iterator[Finding]:
    for event_id, made in held.decisions.items():
        for record in made if event_id in earlier else made[1:] if event_id in entries else ():
            yield Finding(Oracle.REPEAT, event_id, f"again on {record.topic}/{record.partition} at {record.offset}")
    # By origin: an event that was sent twice and breaks the contract dies twice, once for each record.
    for topic in (*held.inside, held.topics.dlq):
        seen: set[tuple[int, int | None]] = set()
        for record in held.records[topic]:
            answers = (record.partition, origin_of(record))
            if answers in seen:
                yield Finding(Oracle.REPEAT, id_of(record), f"again on {topic}/{record.partition} at {record.offset}")
            seen.add(answers)


def _unordered(entries: Mapping[str, Entry], held: Held) -> Iterator[Finding]:
    last: dict[tuple[bytes, str], tuple[int, str]] = {}
    seen: set[tuple[str, str]] = set()
    for record in itertools.chain(held.records[held.topics.decisions], held.records[held.topics.dlq]):
        event_id = id_of(record)
        entry, place = entries.get(event_id), held.places.get(event_id)
        # Stages write their dead letters side by side: among those of one stage, order holds.
        lane = f"{record.topic} {letters.stage_of(record)}"
        if entry is None or place is None or entry.key is None or (event_id, lane) in seen:
            continue
        seen.add((event_id, lane))
        before, whose = last.get((entry.key, lane), (-1, ""))
        if place[1] < before:
            yield Finding(Oracle.ORDER, event_id, f"key {entry.key!r}: comes behind {whose}, which was sent after it")
        else:
            last[entry.key, lane] = (place[1], event_id)


def _misplaced(entries: Mapping[str, Entry], held: Held) -> Iterator[Finding]:
    named: dict[bytes, bytes | None] = {}
    owner: dict[bytes | None, bytes] = {}
    for event_id, made in held.decisions.items():
        entry, place = entries.get(event_id), held.places.get(event_id)
        for record in made if entry is not None else ():
            if place is not None and record.partition != place[0]:
                yield Finding(Oracle.KEY, event_id, f"of partition {place[0]}, decided on {record.partition}")
            key = entry.key if entry is not None else None
            # Keys may be pseudonyms: then one stands for one, over all decisions.
            if key is not None and (named.setdefault(key, record.key), owner.setdefault(record.key, key)) != (
                record.key,
                key,
            ):
                yield Finding(Oracle.KEY, event_id, f"key {key!r} became {record.key!r} here, and another elsewhere")


def _unexpected(entries: Mapping[str, Entry], held: Held) -> Iterator[Finding]:
    for event_id, entry in entries.items():
        if entry.expects and event_id in held.decisions:
            yield Finding(Oracle.EXPECTED, event_id, f"was decided, and should have died of {entry.expects}")
        for letter in held.letters.get(event_id, ()):
            cause = letters.cause_of(letter)
            if cause != entry.expects:
                wanted = f"should have died of {entry.expects}" if entry.expects else "should have been decided"
                yield Finding(Oracle.EXPECTED, event_id, f"died of {cause or 'nothing said'}, and {wanted}")


def _ghosts(entries: Mapping[str, Entry], held: Held, earlier: Container[str]) -> Iterator[Finding]:
    for event_id in itertools.chain(held.decisions, held.letters):
        if event_id not in entries and event_id not in earlier:
            yield Finding(Oracle.GHOST, event_id, "an outcome of an event that nobody has sent")
