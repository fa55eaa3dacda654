"""The oracle of the dead letters: each says why, where from, and holds untouched what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.ledger.finding import Finding, Oracle
from guidevane.ledger.held import id_of, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.ledger.held import Held
    from guidevane.log import Record

# As published (KIP-1191, and ours in the same style): spelt out here, so that a change of the engine's names is seen.
_PREFIX = "__dlq.errors."
_SAYS = ("topic", "partition", "offset", "group", "message", "stage", "exception.class", "timestamp")


def cause_of(letter: Record) -> str:
    """Return the cause that a dead letter tells."""
    return _said(letter, "exception.class")


def stage_of(record: Record) -> str:
    """Return the stage at which a record died; empty for what lives."""
    return _said(record, "stage")


def wrong(held: Held) -> Iterator[Finding]:
    """Tell of each dead letter that is not what it should be."""
    # What stages write carries its origin; on the events topic the offset itself is that.
    sources = {
        (topic, record.partition, record.offset if topic == held.topics.events else origin_of(record)): record
        for topic in (held.topics.events, *held.inside)
        for record in held.records[topic]
    }
    for letter in held.records[held.topics.dlq]:
        event_id = id_of(letter)
        unsaid = [name for name in _SAYS if not _said(letter, name)]
        if unsaid:
            yield Finding(Oracle.LETTER, event_id, f"does not say {', '.join(unsaid)}")
            continue
        number = int(_said(letter, "partition"))
        source = sources.get((_said(letter, "topic"), number, origin_of(letter)))
        if source is None:
            yield Finding(Oracle.LETTER, event_id, f"of {_said(letter, 'topic')}/{number}, where no such record lies")
        elif letter.key != source.key:
            yield Finding(Oracle.LETTER, event_id, "does not hold the key that came")
        # What the world sent stays as it was. What we wrote ourselves may have been written again after a crash,
        # with another time of ingestion, behind the back of a letter that left before.
        elif source.topic == held.topics.events and letter.value != source.value:
            yield Finding(Oracle.LETTER, event_id, "does not hold the value that came")
        elif source.topic == held.topics.events and letter.headers[: len(source.headers)] != source.headers:
            yield Finding(Oracle.LETTER, event_id, "does not hold the headers that came")


def _said(record: Record, name: str) -> str:
    return (record.header(_PREFIX + name) or b"").decode(errors="replace")
