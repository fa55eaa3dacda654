"""Whether what was decided came about, and what it did: looked at again once it should have worked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidevane.control.actions import Act, Effect, Scale, Set, Staff
from guidevane.control.observation import HOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.control.observation import Observation

_SETTLED_S = 12.0
"""A setting shows once the window of ten seconds that percentiles rest on has gone by."""
_STARTED_S = 5.0
_SHOWN = frozenset({"fetch_wait_s", "max_batch", "level"})
"""The settings that rooms say they run with."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """An act whose effect is still to be seen."""

    act: Act
    at_us: int
    due_us: int
    before: Mapping[str, float]
    promised_miss: float | None


def awaited(
    acts: Sequence[Act],
    seen: Observation,
    missed: float | None,
    promised_miss: float | None,
    *,
    startup_s: float,
    room_startup_s: float,
) -> tuple[Awaited, ...]:
    """Return what is to be looked at later. ``missed``: the share of late decisions of the last seconds, 0-1.

    Replicas take ``startup_s`` to serve, a room's process ``room_startup_s`` to be heard.
    """
    before = standing(seen, missed)
    return tuple(
        Awaited(act, seen.at_us, seen.at_us + int(1e6 * _due_s(act, startup_s, room_startup_s)), before, promised_miss)
        for act in acts
        if not isinstance(act, Set) or act.name in _SHOWN
    )


def settled(
    waiting: Sequence[Awaited], acts: Sequence[Act], seen: Observation, missed: float | None
) -> tuple[tuple[Effect, ...], tuple[Awaited, ...]]:
    """Return the effects that are due, and what is still awaited: an act that a new one overrules is not looked at."""
    overruled = {_what(act) for act in acts}
    due = [each for each in waiting if seen.at_us >= each.due_us and _what(each.act) not in overruled]
    rest = tuple(each for each in waiting if seen.at_us < each.due_us and _what(each.act) not in overruled)
    since = standing(seen, missed)
    effects = tuple(
        Effect(
            subject=_what(each.act)[0],
            name=_what(each.act)[1],
            value=_value(each.act),
            took=_took(each.act, seen),
            after_s=(seen.at_us - each.at_us) / 1e6,
            before=each.before,
            since=since,
            promised_miss=each.promised_miss,
        )
        for each in due
    )
    return effects, rest


def standing(seen: Observation, missed: float | None) -> dict[str, float]:
    """Return how a pipeline stands, as far as it is known: ``rate_per_s``, ``age_p99_s``, ``missed``."""
    first, last = seen.stage(HOT[0]), seen.stage(HOT[-1])
    known = {
        "rate_per_s": None if first is None else first.rate_per_s,
        "age_p99_s": None if last is None else last.age_p99_s,
        "missed": missed,
    }
    return {name: round(value, 6) for name, value in known.items() if value is not None}


def _due_s(act: Act, startup_s: float, room_startup_s: float) -> float:
    if isinstance(act, Scale) and act.replicas > act.before:
        return startup_s + _STARTED_S
    if isinstance(act, Staff) and act.consumers > act.before:
        return room_startup_s
    return _SETTLED_S


def _what(act: Act) -> tuple[str, str]:
    if isinstance(act, Scale):
        return act.member, "replicas"
    return (act.room, "consumers") if isinstance(act, Staff) else (act.room, act.name)


def _value(act: Act) -> float:
    if isinstance(act, Scale):
        return float(act.replicas)
    return float(act.consumers) if isinstance(act, Staff) else act.value


def _took(act: Act, seen: Observation) -> bool:
    """Tell whether an act is in force: as Serve says of replicas, as the rooms themselves say of anything else."""
    if isinstance(act, Scale):
        member = seen.member(act.member)
        return member is not None and member.replicas == act.replicas and member.ready >= act.replicas
    if isinstance(act, Staff):
        room = seen.room(act.room)
        return room is not None and room.heard == act.consumers
    stage = seen.stage(act.room)
    return stage is not None and abs(stage.running.get(act.name, float("nan")) - act.value) <= 1e-9 + 1e-6 * act.value
