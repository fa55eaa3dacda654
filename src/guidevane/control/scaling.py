"""Replicas: how many of those that a plan wants a site may have, and when they may be changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from guidevane.control.actions import Scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.observation import MemberSeen, Observation
    from guidevane.control.plant import Setting
    from guidevane.control.site import Site

_UP_EVERY_S: Final = 5.0
_DOWN_EVERY_S: Final = 30.0
Changed = tuple[tuple[str, int], ...]
"""When the replicas of each member were changed last, in microseconds."""


def fitting(
    site: Site, graph: Graph, settings: Sequence[Setting], busy: Sequence[float]
) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Return the settings with replicas within the bounds, and a word for each bound that was in the way.

    ``busy`` is how busy (0-1) each stage's replicas would be. Where cores are too few, the least busy give way first.
    """
    found, notes = list(settings), []
    places = [graph.index[name] for name in site.names]
    for at in places:
        wanted = found[at].replicas
        bounded = min(max(wanted, site.least), site.most)
        if bounded < wanted:
            notes.append(f"{graph.names[at]} would have {wanted}, and may have {site.most}")
        found[at] = replace(found[at], replicas=bounded)
    if site.cpus is None:
        return tuple(found), tuple(notes)
    work = {at: busy[at] * settings[at].replicas for at in places}
    cpus = {at: site.movable(graph.names[at]).cpus for at in places}
    while sum(found[at].replicas * cpus[at] for at in places) > site.cpus + 1e-9:
        spare = [at for at in places if found[at].replicas > site.least]
        if not spare:
            break
        if not any("cores" in note for note in notes):
            notes.append(f"replicas beyond {site.cpus:g} cores would only take them from each other")
        gives = min(spare, key=lambda at: (work[at] / (found[at].replicas - 1), at))
        found[gives] = replace(found[gives], replicas=found[gives].replicas - 1)
    return tuple(found), tuple(notes)


def scaled(
    site: Site,
    seen: Observation,
    planned: Mapping[str, int],
    why: str,
    *,
    late: bool,
    began_us: int,
    scaled_us: Changed,
) -> tuple[tuple[Scale, ...], Changed, tuple[str, ...]]:
    """Return the changes of replicas that may be made now, when each was made last, and a word for each that waits.

    What a person set is made at once. Otherwise a member grows every five seconds at most, and shrinks thirty after its
    last change (or after ``began_us``: who knows the traffic for a moment only takes nothing away from it), when
    nothing of it is starting and events are not ``late``.
    """
    found: list[Scale] = []
    waits: list[str] = []
    changed = dict(scaled_us)
    for name in site.names:
        member = seen.member(name)
        if member is None or member.replicas is None:
            waits.append(f"replicas of {name} are not known")
            continue
        act = _wanted(site, member, planned[name], why)
        if act is None:
            continue
        fewer = act.replicas < act.before
        since_s = (seen.at_us - changed.get(name, began_us if fewer else 0)) / 1e6
        if member.told is None and since_s < (_DOWN_EVERY_S if fewer else _UP_EVERY_S):
            waits.append(f"{name} {'was scaled' if name in changed else 'is known since'} a moment ago")
        elif member.told is None and fewer and late:
            waits.append(f"{name} would shrink, but events are late")
        elif member.told is None and fewer and member.starting:
            waits.append(f"{name} is still starting")
        else:
            found.append(act)
            changed[name] = seen.at_us
    return tuple(found), tuple(sorted(changed.items())), tuple(waits)


def _wanted(site: Site, member: MemberSeen, planned: int, why: str) -> Scale | None:
    before = member.replicas or 0
    if member.told is not None:
        wanted, why = member.told, "as a person set it"
    else:
        # The bounds come last: they hold even where the step alone would not lead back into them.
        wanted = min(max(planned, before - site.step), before + site.step)
        wanted = min(max(wanted, site.least), site.most)
    if wanted == before:
        return None
    return Scale(member.name, wanted, before, f"{why}; {member.ready} of {before} ready")
