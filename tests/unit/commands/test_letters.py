"""What is told of dead letters to who names one that is not there."""

from __future__ import annotations

from guidevane.commands.letters import known
from guidevane.errors import Reject
from guidevane.log import Record
from guidevane.runtime.deadletter import dead_letter


def letter(stage: str, cause: str) -> Record:
    record = Record("p.events", 0, 7, b"k", b"v", (), 0)
    written = dead_letter(record, Reject(cause, "no good"), stage=stage, group="g", now_us=0, origin=7)
    return Record("p.dlq", 0, 0, written.key, written.value, written.headers, 0)


def test_given_letters_then_their_stages_and_causes_are_told_the_most_frequent_first() -> None:
    letters = [letter("ingest", "truncated"), letter("inference", "model_died"), letter("ingest", "truncated")]
    assert known(letters) == "there are: ingest truncated (2), inference model_died (1)"
