"""One stage's queue, passed over once in the order of arrival: the loops of the feed-forward simulation.

A stream is a pair of arrays, ``ids`` (which event) and ``times`` (seconds, ascending). In a graph without
circles each stage's departures do not depend on what comes behind it, so that stages can be taken
one after the other. Replicas are taken in the order in which they become free, hence the
departures come out sorted, and nothing is ever sorted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from guidevane.compiled.function import compiled

Ids = npt.NDArray[np.int32]
Times = npt.NDArray[np.float64]


@compiled
def _insert(free: Times, first: Ids, last: Ids, head: int, size: int, key: float, begin: int, end: int) -> None:
    """Put a replica that will be free at ``key`` among the ``size`` others, who stand in that order in a ring."""
    mask = len(free) - 1
    at = head + size
    # Who starts last is mostly done last: a step or two from the end.
    while at > head and free[(at - 1) & mask] > key:
        free[at & mask] = free[(at - 1) & mask]
        first[at & mask] = first[(at - 1) & mask]
        last[at & mask] = last[(at - 1) & mask]
        at -= 1
    free[at & mask], first[at & mask], last[at & mask] = key, begin, end


class Scratch(NamedTuple):
    """What ``serve`` works on: a ring of replicas, busy with ``taken[first:last]`` until ``free``; and departures.

    ``waited``: the most events, one number, that waited for a batch when it began, counted up to its size.
    """

    free: Times
    first: Ids
    last: Ids
    waited: Ids
    taken: Ids
    ids: Ids
    times: Times

    @classmethod
    def of(cls, events: int, replicas: int, change_replicas: Ids) -> Scratch:
        """Return it for as many events, and for the replicas at the begin with all that join later."""
        most = replicas + (int(change_replicas.clip(0).sum()) if len(change_replicas) else 0)
        ring = 1 << most.bit_length()
        free, first, last = np.empty(ring), np.zeros(ring, np.int32), np.zeros(ring, np.int32)
        free[:replicas] = -np.inf
        taken, ids, times = np.empty(events, np.int32), np.empty(events, np.int32), np.empty(events)
        return cls(free, first, last, np.zeros(1, np.int32), taken, ids, times)


@compiled
def serve(  # noqa: C901, PLR0912, PLR0915 - one pass, one loop: a call per event would cost more than the event
    ids: Ids,
    times: Times,
    noise: Times,
    jitter: float,
    table: Times,
    replicas: int,
    batch: int,
    wait_s: float,
    change_times: Times,
    change_replicas: Ids,
    deadlines: Times,
    ahead_s: float,
    drop: bool,  # noqa: FBT001 - compiled code takes its arguments by position
    drop_s: float,
    late_limit: int,
    free: Times,
    first: Ids,
    last: Ids,
    waited: Ids,
    taken: Ids,
    out_ids: Ids,
    out_times: Times,
) -> int:
    """Serve a stream by replicas that share its queue; write the departures, return how many there are.

    A replica that is free takes what waits, up to ``batch``, after waiting up to ``wait_s`` from the
    oldest arrival for the batch to fill; that takes ``table[size]`` x (1 + ``jitter`` x ``noise[oldest event]``)
    seconds. At each of ``change_times`` as many replicas join, or (negative) leave: whoever is, or
    becomes, free first. With ``drop``, an event whose batch would end, with ``drop_s`` still to go,
    behind its deadline is not served. Where more than ``late_limit`` (if that is not negative) leave
    behind their deadlines less ``ahead_s``, the pass ends and returns -1. The last seven are a ``Scratch``.
    """
    n, changes = len(ids), len(change_times)
    mask = len(free) - 1
    head, size = 0, replicas
    took = out = late = leaving = change = i = 0
    start = 0.0
    while True:
        if i < n:
            start = max(free[head & mask], times[i]) if size > 0 else np.inf
            if change < changes and change_times[change] <= start:
                for _ in range(change_replicas[change]):
                    if leaving > 0:
                        leaving -= 1
                    else:
                        _insert(free, first, last, head, size, change_times[change], 0, 0)
                        size += 1
                leaving += max(-change_replicas[change], 0)
                change += 1
                continue
        if size == 0:
            break
        begin = took
        if i < n and leaving == 0:
            start = max(free[head & mask], times[i])
            if wait_s > 0.0 and not (i + batch <= n and times[i + batch - 1] <= start):
                full = times[i + batch - 1] if i + batch <= n else np.inf
                start = max(start, min(times[i] + wait_s, full))
            if drop:
                waiting = 1
                while waiting < batch and i + waiting < n and times[i + waiting] <= start:
                    waiting += 1
                waited[0] = max(waited[0], waiting)
                ends = start + table[waiting] + drop_s
                while i < n and took - begin < batch and times[i] <= start:
                    taken[took] = ids[i]
                    took += ends <= deadlines[ids[i]]
                    i += 1
                if took == begin:
                    continue
            else:
                taken[took] = ids[i]
                took, i = took + 1, i + 1
                while i < n and took - begin < batch and times[i] <= start:
                    taken[took] = ids[i]
                    took, i = took + 1, i + 1
                waited[0] = max(waited[0], took - begin)
        # Whoever is free first hands over the batch that it ends, before it takes the next one, or leaves.
        done = free[head & mask]
        for e in range(first[head & mask], last[head & mask]):
            out_ids[out], out_times[out] = taken[e], done
            out += 1
            if late_limit >= 0 and done > deadlines[taken[e]] - ahead_s:
                late += 1
                if late > late_limit:
                    return -1
        head += 1
        size -= 1
        if took > begin:
            done = start + table[took - begin] * (1.0 + jitter * noise[taken[begin]])
            _insert(free, first, last, head, size, done, begin, took)
            size += 1
        else:
            leaving = max(leaving - 1, 0)
    return out


def follow(ids: Ids, times: Times, takes: npt.NDArray[np.bool_], hop_s: float) -> tuple[Ids, Times]:
    """Return the part of a stream that takes an edge, one hop later."""
    out_ids, out_times = np.empty(len(ids), np.int32), np.empty(len(ids))
    out = _follow(ids, times, takes, hop_s, out_ids, out_times)
    return out_ids[:out], out_times[:out]


@compiled
def _follow(ids: Ids, times: Times, takes: npt.NDArray[np.bool_], hop_s: float, out_ids: Ids, out_times: Times) -> int:
    out = 0
    for at in range(len(ids)):
        if takes[ids[at]]:
            out_ids[out], out_times[out] = ids[at], times[at] + hop_s
            out += 1
    return out


def join(ids: Ids, times: Times, starts: npt.NDArray[np.int64], need: npt.NDArray[np.int16]) -> tuple[Ids, Times]:
    """Merge streams that stand one behind the other in ``ids`` and ``times``, from ``starts``; return one stream.

    An event goes on when it came ``need`` times: from all the edges that it took, or from its quorum.
    """
    heads, now, seen = starts[:-1].copy(), np.full(len(starts) - 1, np.inf), np.zeros(len(need), np.int16)
    out_ids, out_times = np.empty(len(ids), np.int32), np.empty(len(ids))
    out = _join(ids, times, starts, need, heads, now, seen, out_ids, out_times)
    return out_ids[:out], out_times[:out]


@compiled
def _join(
    ids: Ids,
    times: Times,
    starts: npt.NDArray[np.int64],
    need: npt.NDArray[np.int16],
    heads: npt.NDArray[np.int64],
    now: Times,
    seen: npt.NDArray[np.int16],
    out_ids: Ids,
    out_times: Times,
) -> int:
    streams = len(heads)
    for s in range(streams):
        if heads[s] < starts[s + 1]:
            now[s] = times[heads[s]]
    out = 0
    for _ in range(len(ids)):
        best, time = 0, now[0]
        for s in range(1, streams):
            if now[s] < time:
                best, time = s, now[s]
        event = ids[heads[best]]
        heads[best] += 1
        now[best] = times[heads[best]] if heads[best] < starts[best + 1] else np.inf
        seen[event] += 1
        if seen[event] == need[event]:
            out_ids[out], out_times[out] = event, time
            out += 1
    return out


@compiled
def finish(ids: Ids, times: Times, ends: npt.NDArray[np.bool_], end_times: Times, left: npt.NDArray[np.int16]) -> None:
    """Note the departures of a stage in ``end_times`` for events that end there; ``left`` counts what still runs."""
    for at in range(len(ids)):
        event = ids[at]
        if ends[event]:
            left[event] -= 1
            end_times[event] = max(end_times[event], times[at])
