"""One thing that is wrong: which oracle says so, of which event, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Oracle(StrEnum):
    """What is looked at."""

    LOST = "lost"
    """An event that Kafka holds has neither decision nor dead letter."""
    TWICE = "twice"
    """A reader of the effective decisions sees an event twice."""
    CONFLICT = "conflicting"
    """Outcomes of one event differ."""
    REPEAT = "repeated"
    """An answer was written again."""
    ORDER = "order"
    """Of two events of a key, the later one's outcome comes first."""
    KEY = "key"
    """An outcome lies on another partition than its event, or under another key."""
    EXPECTED = "expected"
    """An innocent died, a poisonous event did not, or not of its cause."""
    LETTER = "dead letter"
    """A dead letter does not say why, or does not hold what came."""
    GHOST = "ghost"
    """An outcome of an event that nobody has sent."""
    COMMIT = "commit"
    """A commit went back, or ran ahead of the answers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    oracle: Oracle
    event_id: str
    says: str
