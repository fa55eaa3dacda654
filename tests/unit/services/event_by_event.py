"""The ladder as it would be climbed for one event alone, whose members wait for nobody: what ``steps`` is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guidevane.control.ladder import Choice


@dataclass(frozen=True, slots=True)
class Member:
    """One member: what it adds (``accuracy``), and when it would answer, waiting included."""

    name: str
    accuracy: float
    expected_s: float


def choose(slack_s: float, members: Sequence[Member], *, quorum: int, rule: bool = False) -> Choice:
    """Members answer at the same time: those that would be late go, least accuracy per second first."""
    kept = list(members)
    while len(kept) > quorum and any(each.expected_s > slack_s for each in kept):
        late = [each for each in kept if each.expected_s > slack_s]
        kept.remove(min(late, key=lambda each: (each.accuracy / each.expected_s, each.name)))
    if kept and len(kept) >= quorum and all(each.expected_s <= slack_s for each in kept):
        return Choice("full" if len(kept) == len(members) else "degraded", tuple(each.name for each in kept))
    return Choice("rule" if rule and slack_s >= 0 else "shed")
