"""How far to degrade one event, by the time that it has left: the most that still fits, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Rung = Literal["full", "degraded", "variant", "cached", "rule", "shed"]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an ensemble: what it adds (``accuracy``), and when it would answer, waiting included."""

    name: str
    accuracy: float
    expected_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What an event gets: the rung, and the members that are asked."""

    rung: Rung
    members: tuple[str, ...] = ()


def choose(
    slack_s: float,
    members: Sequence[Member],
    *,
    quorum: int,
    variant_s: float | None = None,
    cached: bool = False,
    rule_s: float | None = None,
) -> Choice:
    """Return what an event with ``slack_s`` left before its deadline gets.

    ``slack_s``: the deadline less its age less what comes behind the ensemble. Members answer at the same time,
    so the slowest decides: those that would be late go, least accuracy per millisecond first, as long as
    a ``quorum`` stays; then a cached answer, a cheap variant (``variant_s``), a rule (``rule_s``); who has
    no time for any of them is shed before anything is computed.

    >>> both = [Member("quick", 0.7, 0.02), Member("deep", 0.8, 0.09)]
    >>> choose(0.1, both, quorum=1).rung, choose(0.05, both, quorum=1).members, choose(0.05, both, quorum=2).rung
    ('full', ('quick',), 'shed')
    >>> choose(0.005, both, quorum=1, rule_s=0.001).rung
    'rule'
    """
    kept = list(members)
    while len(kept) > quorum and any(each.expected_s > slack_s for each in kept):
        late = [each for each in kept if each.expected_s > slack_s]
        kept.remove(min(late, key=lambda each: (each.accuracy / each.expected_s, each.name)))
    if kept and len(kept) >= quorum and all(each.expected_s <= slack_s for each in kept):
        return Choice("full" if len(kept) == len(members) else "degraded", tuple(each.name for each in kept))
    if slack_s < 0:
        return Choice("shed")
    if cached:
        return Choice("cached")
    if variant_s is not None and variant_s <= slack_s:
        return Choice("variant")
    return Choice("rule") if rule_s is not None and rule_s <= slack_s else Choice("shed")
