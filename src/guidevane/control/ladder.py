"""What the events of one batch may get, by the time that each has left: the most that still fits, or nothing at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Rung = Literal["full", "degraded", "variant", "rule", "shed"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What an event gets: the rung, and the members that are asked."""

    rung: Rung
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timed:
    """One member of an ensemble, and whose time it takes.

    ``busy_s`` is how long it would compute on the batch in question; those with the same ``host`` compute one after the
    other. ``accuracy`` is what it adds.
    """

    name: str
    host: str
    busy_s: float
    accuracy: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What an event gets that has ``needs_s`` or more left."""

    needs_s: float
    choice: Choice


def reserved(members: Sequence[Timed], *, quorum: int, leave_out: int) -> tuple[Timed, ...]:
    """Return the members without the ``leave_out`` that add the least per second, but a ``quorum`` of them at least.

    >>> both = [Timed("quick", "quick", 0.01, 0.7), Timed("deep", "deep", 0.09, 0.8)]
    >>> [each.name for each in reserved(both, quorum=1, leave_out=1)]
    ['quick']
    """
    worth = sorted(members, key=lambda each: (each.accuracy / max(each.busy_s, 1e-9), each.name))
    out = {each.name for each in worth[: max(min(leave_out, len(members) - quorum), 0)]}
    return tuple(each for each in members if each.name not in out)


def steps(
    members: Sequence[Timed],
    waits_s: Mapping[str, float],
    *,
    quorum: int,
    most: int | None = None,
    variant: Timed | None = None,
    rule: bool = False,
) -> list[Step]:
    """Return the ladder of one batch, from the most that an event may get downwards; each step needs less time.

    ``waits_s`` is how long a call waits at each host before it computes. What ``members`` need is the slowest host's
    wait and computing. Whoever falls short loses the member of that host which adds the least per second, again and
    again down to the ``quorum``; behind that come the ``variant``, the ``rule`` (which needs no time) and shedding.
    ``most`` is how many members a whole answer has, where some are left out already.

    An event with slack s (its deadline, less its age, less what comes behind the ensemble) gets the first step with
    ``needs_s`` <= s.

    >>> both = [Timed("quick", "quick", 0.01), Timed("deep", "deep", 0.08)]
    >>> for step in steps(both, {"deep": 0.01}, quorum=1, rule=True):
    ...     print(f"{step.needs_s:.2f}", step.choice.rung, *step.choice.members)
    0.09 full quick deep
    0.01 degraded quick
    0.00 rule
    -inf shed
    """
    whole = len(members) if most is None else most
    found: list[Step] = []

    def add(needs_s: float, choice: Choice) -> None:
        # Who could have the better answer in the same time gets that.
        if not found or needs_s < found[-1].needs_s:
            found.append(Step(needs_s, choice))

    kept = list(members)
    while kept and len(kept) >= quorum:
        busy_s: dict[str, float] = {}
        for each in kept:
            busy_s[each.host] = busy_s.get(each.host, 0.0) + each.busy_s
        needs_s = {host: waits_s.get(host, 0.0) + busy for host, busy in busy_s.items()}
        slowest = max(needs_s, key=lambda host: (needs_s[host], host))
        rung: Rung = "full" if len(kept) == whole else "degraded"
        add(needs_s[slowest], Choice(rung, tuple(each.name for each in kept)))
        there = [each for each in kept if each.host == slowest]
        kept.remove(min(there, key=lambda each: (each.accuracy / max(each.busy_s, 1e-9), each.name)))
    if variant is not None:
        add(waits_s.get(variant.host, 0.0) + variant.busy_s, Choice("variant", (variant.name,)))
    if rule:
        add(0.0, Choice("rule"))
    found.append(Step(-math.inf, Choice("shed")))
    return found
