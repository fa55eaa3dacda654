"""Consumers: how many processes each room has, and when that may be changed.

Partitions are dealt out whole: n consumers on P partitions that n does not divide leave some of them with one more than
the others, and the busiest decides when a room cannot follow any more. So only divisors of P are ever asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from guidevane.control.actions import Set, Staff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.observation import Observation, RoomSeen
    from guidevane.control.site import Site

CONSUMERS: Final = "consumers"
"""What the control topic calls it, by room: a room that is not among so many leaves its group for good when it ends."""
_FULL: Final = 0.6
"""How busy a consumer may be at the rate to be ready for: bursts within a second have room in what is left."""
_SPARE: Final = 0.4
"""How busy the fewer may be for one to be given up."""
_UP_FOR_S: Final = 5.0
_DOWN_FOR_S: Final = 120.0
_UP_EVERY_S: Final = 30.0
_DOWN_EVERY_S: Final = 300.0
_FAR: Final = 3.0
"""Forecasts beyond so many times the rate now are none of a room's: its work is known at the rate now only."""
_AGAIN_S: Final = 30.0
_LEFT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Post:
    """What is remembered of one room's staff.

    ``wanting``: what was last found right, since ``since_us`` without a break in the same direction. ``changed_us``:
    when its number was last changed. ``tried_us``: when it was last asked for. ``stood``: the number that was in force
    when last all was as asked for; ``theirs``: the number that somebody else has set since ``theirs_us``.
    """

    wanting: int | None = None
    since_us: int = 0
    changed_us: int | None = None
    tried_us: int | None = None
    stood: int | None = None
    theirs: int | None = None
    theirs_us: int = 0


@dataclass(frozen=True, slots=True)
class Posts:
    """The same of all rooms."""

    of: Mapping[str, Post] = field(default_factory=lambda: MappingProxyType({}))

    def but(self, name: str, post: Post) -> Posts:
        """Return these with one of them changed."""
        return Posts(MappingProxyType({**self.of, name: post}))


def staffed(
    site: Site, seen: Observation, posts: Posts, *, rate_per_s: float | None, ready_for_per_s: float | None, late: bool
) -> tuple[tuple[Set | Staff, ...], Posts, tuple[str, ...]]:
    """Return what to change of the rooms' consumers now, what to remember, and a word for each room that waits.

    A number is written to the control topic first, so that who must go and the next controller know it; whoever runs
    the rooms is asked for it one observation later. More are wanted for five seconds and follow thirty after the last
    change, for each one stops the room for a moment; fewer are wanted for two minutes and follow five after it, one
    divisor at a time, never while events are ``late``. A person's number is made at once; one that somebody set where
    the rooms run is left for ten minutes.
    """
    if site.most_consumers <= 1:
        return (), posts, ()
    acts: list[Set | Staff] = []
    words: list[str] = []
    growth = 1.0
    if rate_per_s and ready_for_per_s:
        growth = min(max(ready_for_per_s / rate_per_s, 1.0), _FAR)
    for room in seen.rooms:
        post = posts.of.get(room.name, Post())
        if room.wanted is None:
            words.append(f"consumers of {room.name} are not known")
            posts = posts.but(room.name, replace(post, wanting=None))
            continue
        act, post, word = _one(site, seen.at_us, room, post, growth=growth, late=late)
        posts = posts.but(room.name, post)
        acts += [act] if act is not None else []
        words += [word] if word else []
    return tuple(acts), posts, tuple(words)


def divisors(partitions: int, most: int) -> tuple[int, ...]:
    """Return the numbers of consumers that share partitions evenly, ``most`` at most.

    >>> divisors(12, 8), divisors(7, 4)
    ((1, 2, 3, 4, 6), (1,))
    """
    return tuple(n for n in range(1, min(partitions, most) + 1) if partitions % n == 0)


def needed(work: float, able: tuple[int, ...], now: int) -> int:
    """Return how many consumers ``work`` (seconds of CPU in each second, at the rate to be ready for) wants.

    The fewest that are not full; what is in force stays until fewer would have room to spare.

    >>> able = (1, 2, 3, 4, 6, 12)
    >>> needed(0.9, able, 1), needed(0.5, able, 2), needed(0.3, able, 2), needed(9.0, able, 6)
    (2, 2, 1, 12)
    """
    enough = next((n for n in able if work / n <= _FULL), able[-1])
    if enough >= now:
        return enough
    fewer = max((n for n in able if n < now), default=now)
    return fewer if work / fewer <= _SPARE else now


_Found = tuple["Set | Staff | None", Post, str]


def _one(site: Site, at_us: int, room: RoomSeen, post: Post, *, growth: float, late: bool) -> _Found:
    wanted = room.wanted or 0
    if room.told_by:
        return _as_told(site, at_us, room, post)
    told = room.told if room.told is not None else wanted
    if wanted == told:
        post = replace(post, stood=told, theirs=None)
    elif post.stood == told:
        # It stood as it was asked for, and does no more: somebody changed it where the rooms run.
        post = post if post.theirs == wanted else replace(post, theirs=wanted, theirs_us=at_us)
        if at_us - post.theirs_us < _LEFT_S * 1e6:
            return None, post, f"{room.name} was set to {wanted} consumers by somebody else: left for ten minutes"
    else:
        return _ask(room, told, "as the control topic has it", at_us, post)
    if room.busy is None or not room.heard:
        return None, replace(post, wanting=None), ""
    return _as_busy(site, at_us, room, post, work=room.busy * growth, late=late)


def _as_told(site: Site, at_us: int, room: RoomSeen, post: Post) -> _Found:
    """Return what makes a person's number; where that is none, what else was set there is not written over."""
    if room.told is None:
        return None, replace(post, wanting=None), ""
    number = max((n for n in divisors(site.partitions, site.partitions) if n <= room.told), default=1)
    why = f"as {room.told_by} set it"
    if number != room.told:
        why += f" ({room.told}, and {number} share {site.partitions} partitions evenly)"
    return _ask(room, number, why, at_us, post)


def _as_busy(site: Site, at_us: int, room: RoomSeen, post: Post, *, work: float, late: bool) -> _Found:
    """Return the writing of another number, where the work has wanted it for long enough."""
    wanted = room.wanted or 0
    number = needed(work, divisors(site.partitions, site.most_consumers), wanted)
    if number == wanted:
        return None, replace(post, wanting=None), ""
    more = number > wanted
    if post.wanting is None or (post.wanting > wanted) != more:
        post = replace(post, since_us=at_us)
    post = replace(post, wanting=number)
    patience_s, every_s = (_UP_FOR_S, _UP_EVERY_S) if more else (_DOWN_FOR_S, _DOWN_EVERY_S)
    if at_us - post.since_us < patience_s * 1e6:
        return None, post, ""
    hindered = ""
    if late and not more:
        hindered = "but events are late"
    elif post.changed_us is not None and at_us - post.changed_us < every_s * 1e6:
        hindered = "and was changed a moment ago"
    elif more and room.heard < wanted:
        hindered = f"and {room.heard} of {wanted} are heard"
    if hindered:
        return None, post, f"{room.name} would have {number} consumers, {hindered}"
    reason = (
        f"{work:.2f} s of work a second at the rate to be ready for: {wanted} would be {work / max(wanted, 1):.0%} busy"
    )
    act = Set(room.name, CONSUMERS, float(number), float(wanted), reason)
    return act, replace(post, wanting=None, changed_us=at_us), ""


def _ask(room: RoomSeen, number: int, why: str, at_us: int, post: Post) -> _Found:
    """Return the asking for a number, where it is not in force and was not asked for a moment ago."""
    wanted = room.wanted or 0
    if number == wanted:
        return None, replace(post, stood=number, tried_us=None, theirs=None), ""
    if post.tried_us is not None and at_us - post.tried_us < _AGAIN_S * 1e6:
        return None, post, f"{room.name} was asked for {number} consumers and has {wanted}"
    post = replace(post, tried_us=at_us, changed_us=at_us)
    return Staff(room.name, number, wanted, f"{why}; {room.heard} are heard"), post, ""
