"""Who can no longer be in time: how long what still lies before an event will take, at each stage.

An event is dropped before it is computed when its batch would end with less time left than that. First come
is first served, so under overload every event that gets through does so with hardly more than
what was asked for: where only the least time is asked for, it is dropped further on, after it has cost its
share of the stages before, and little is served in time at all (PARD, arXiv 2602.08747, on proactive
dropping). Where the full batches and the wait for the next free replica are asked for, what gets
through is served: 97 % of capacity instead of 25 % at a quarter more than it, for example
(``loadtests/steering/overload.py``).

Where stages in a row are about equally narrow, full batches and one wait are too little: the stages behind are busy
as well, and what comes to them comes a batch at a time. Then the narrow one had better serve at once or never. Where
it is narrow alone, that wastes what a queue could have borne. Nothing here knows which: ``ways_s`` names both, and
whoever has a simulation at hand takes the better one (``Table.shed_s``; decision 0030).
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import TYPE_CHECKING

from guidevane.control.analytic import effective_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting

_OF_OBJECTIVE = 0.9
_AT_ONCE = (0.9, 0.8)
"""Shares of the objective in which who is served at once is done, that are tried: waits behind want the smaller one."""
_NARROW = 1.05
"""What comes over what is borne, from which on a stage is taken to have too little."""


def ahead_s(graph: Graph, settings: Sequence[Setting], rate_per_s: float, slo_s: float) -> tuple[float, ...]:
    """Return, per stage, the seconds from the end of its service to the end of the event, hops included.

    Each stage behind takes the mean service of the batch that forms at ``rate_per_s`` events per second, and, as
    far as it is busy, the time until the next of its replicas is free. The longest way counts, at a
    quorum that of its q-th fastest member. Where all of that, from the first stage on, would leave
    nothing of the objective, stages are taken to be that much quicker, but never than they can be.
    """
    taken, narrow = _taken_s(graph, settings, rate_per_s, slo_s), _narrow(graph, settings, rate_per_s)
    return tuple(_usual(graph, settings, slo_s, taken, narrow))


def ways_s(
    graph: Graph,
    settings: Sequence[Setting],
    rate_per_s: float,
    slo_s: float,
    ordered: Sequence[Setting] | None = None,
) -> tuple[tuple[float, ...], ...]:
    """Return what may be asked for, each as ``ahead_s`` has it; that alone where no stage is narrow.

    ``settings`` with the replicas that serve; where fewer do than were ``ordered``, what is asked for once all do comes
    first: while a burst passes by that few replicas bear as well, it drops fewer. Where stages are narrow, there are
    ways in which each of them serves at once or never, but those beside one that does, and those that are narrow no
    more once the stages before them have dropped what they must.
    """
    taken, narrow = _taken_s(graph, settings, rate_per_s, slo_s), _narrow(graph, settings, rate_per_s)
    usual = tuple(_usual(graph, settings, slo_s, taken, narrow))
    calm = usual if ordered is None or ordered == settings else ahead_s(graph, ordered, rate_per_s, slo_s)
    if not narrow:
        return tuple(dict.fromkeys((calm, usual)))
    reached = _reached_s(graph, taken)
    narrowest = _narrowest(graph, settings, rate_per_s, reached)

    def at_once(share: float) -> tuple[float, ...]:
        asked = list(usual)
        for at in narrowest:
            asked[at] = max(asked[at], share * slo_s - _served_s(graph, settings, reached, at))
        return tuple(asked)

    return tuple(dict.fromkeys((calm, usual, *map(at_once, _AT_ONCE))))


def _taken_s(graph: Graph, settings: Sequence[Setting], rate_per_s: float, slo_s: float) -> list[float]:
    """Return, per stage, how long an event is taken to be there, as far as the objective has room for it."""
    least, usual = [], []
    for stage, setting, visits in zip(graph.stages, settings, graph.visits, strict=True):
        profile, rate = stage.on(setting.hardware).profile, rate_per_s * visits
        batch = effective_batch(profile, rate, setting.batch, max(setting.replicas, 1))
        service_s = profile.mean_s(batch)
        next_free_s = profile.latency_s(batch) / max(setting.replicas, 1)
        least.append(profile.fastest_s)
        usual.append(service_s + min(rate * next_free_s / batch, 1.0) * next_free_s)
    whole, shortest = graph.path_s(usual), graph.path_s(least)
    room = min(max((_OF_OBJECTIVE * slo_s - shortest) / max(whole - shortest, 1e-9), 0.0), 1.0)
    return [quick + room * (each - quick) for quick, each in zip(least, usual, strict=True)]


def _usual(
    graph: Graph, settings: Sequence[Setting], slo_s: float, taken: Sequence[float], narrow: Sequence[int]
) -> list[float]:
    """Return, per stage, the longest way behind it, one of several narrow stages dropping long before the others.

    Where branches that meet again each drop for themselves, what one has served another has dropped. What one has
    dropped, however, the others pass over: so the one that events reach first serves at once or never, and the
    others, who look at events later, serve those that it has let through.
    """
    ahead = [_from(graph, at, taken) for at in range(len(graph.stages))]
    if not narrow:
        return ahead
    reached = _reached_s(graph, taken)
    first = min(narrow, key=lambda at: reached[at])
    if not any(_beside(graph, first, at) for at in narrow):
        return ahead
    ahead[first] = max(ahead[first], _OF_OBJECTIVE * slo_s - _served_s(graph, settings, reached, first))
    return ahead


def _borne(graph: Graph, settings: Sequence[Setting], rate_per_s: float, at: int) -> float:
    """Return the share of what comes to a stage that it bears in full batches; infinite where nothing comes to it."""
    each, comes = settings[at], rate_per_s * graph.visits[at]
    bears = graph.stages[at].on(each.hardware).profile.throughput(each.batch) * each.replicas
    return bears / comes if comes > 0 else math.inf


def _narrow(graph: Graph, settings: Sequence[Setting], rate_per_s: float) -> list[int]:
    """Return the stages that have too little, of those that a quorum cannot do without."""
    return [
        at
        for at, name in enumerate(graph.names)
        if name not in graph.members and _borne(graph, settings, rate_per_s, at) * _NARROW < 1
    ]


def _narrowest(graph: Graph, settings: Sequence[Setting], rate_per_s: float, reached: Sequence[float]) -> list[int]:
    """Return the narrow stages that still have too little of what those before let through, none beside another."""
    found: list[int] = []
    let = [1.0] * len(graph.stages)
    for at in sorted(range(len(graph.stages)), key=lambda each: (reached[each], each)):
        name = graph.names[at]
        let[at] = min((let[graph.index[graph.edges[edge].before]] for edge in graph.into(name)), default=1.0)
        borne = _borne(graph, settings, rate_per_s, at)
        if name not in graph.members and borne * _NARROW < let[at]:
            if not any(_beside(graph, other, at) for other in found):
                found.append(at)
            let[at] = borne
    return found


def _served_s(graph: Graph, settings: Sequence[Setting], reached: Sequence[float], at: int) -> float:
    """Return when an event has been served that waited for one replica and no longer."""
    each = settings[at]
    took_s = graph.stages[at].on(each.hardware).profile.latency_s(each.batch)
    return reached[at] + took_s * (1 + 1 / max(each.replicas, 1))


def _reached_s(graph: Graph, taken: Sequence[float]) -> list[float]:
    """Return, per stage, when an event comes there by its longest way, where each stage takes as long as told."""
    reached = [0.0] * len(graph.stages)
    for at, name in enumerate(graph.names):
        befores = [graph.index[graph.edges[edge].before] for edge in graph.into(name)]
        reached[at] = max((reached[before] + taken[before] + graph.hop_s for before in befores), default=0.0)
    return reached


def _beside(graph: Graph, one: int, two: int) -> bool:
    """Tell whether one event may be at both stages at a time: neither leads to the other, nor are they alternatives."""
    behind: list[set[int]] = [set() for _ in graph.stages]
    for at in range(len(graph.stages) - 1, -1, -1):
        afters = [graph.index[graph.edges[edge].after] for edge in graph.out_of(graph.names[at])]
        behind[at] = {at}.union(*(behind[after] for after in afters))
    if two in behind[one] or one in behind[two]:
        return False
    entries = [at for at, name in enumerate(graph.names) if not graph.into(name)]
    forks = [
        [graph.index[graph.edges[edge].after] for edge in graph.out_of(name)]
        for name in graph.names
        if name not in graph.exclusive
    ]
    return any(
        one in behind[left] and two in behind[right]
        for ways in (entries, *forks)
        for left, right in permutations(ways, 2)
    )


def _from(graph: Graph, begin: int, taken: Sequence[float]) -> float:
    """Return the longest way from the end of one stage to the end of the event."""
    done: dict[int, float] = {begin: 0.0}
    for at in range(begin + 1, len(graph.stages)):
        name = graph.names[at]
        befores = [graph.index[graph.edges[edge].before] for edge in graph.into(name) if graph.edges[edge].share > 0]
        ways = sorted(done[before] + graph.hop_s for before in befores if before in done)
        if ways:
            done[at] = taken[at] + ways[min(graph.quorum.get(name, len(ways)), len(ways)) - 1]
    ends = [seconds for at, seconds in done.items() if at != begin and graph.may_end(graph.names[at])]
    return max(ends, default=0.0)
