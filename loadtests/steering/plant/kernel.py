"""The plant's one compiled loop: batches start and finish, in the order of time, between two ticks of a policy.

A stage's queue is a column of (event, time it arrives there), written when an event leaves the stage before and read
when a batch forms; as every hop takes equally long and batches finish in the order of time, columns are sorted as
they are written, and a batch is a slice of one. So the only heap is that of the running batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtests.steering.jitted import jitted
from loadtests.steering.plant.columns import (
    ARRIVED,
    BATCH,
    BATCHES,
    BILL_END,
    BILLED,
    BUSY,
    BUSY_FOR,
    BUSY_SINCE,
    DEADLINE,
    DONE,
    DROPPED,
    ENDS,
    FINISHED,
    FULL,
    GOT,
    HEAD,
    HEAP,
    HOP,
    IDLE,
    IN_SERVICE,
    JITTER,
    LAUNCHED,
    LEAVING,
    NEED,
    OPENED,
    OUT_BEGIN,
    OUT_END,
    OUTCOME,
    PENDING,
    POSSIBLE,
    PREFER,
    SEEN,
    SHED,
    SHED_BELOW,
    SKIP,
    STARTED,
    STARTUP,
    TAIL,
    WAIT,
)

if TYPE_CHECKING:
    from loadtests.steering.plant.columns import Floats, Ints, State

_MIX = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], dtype=np.uint64)


@jitted
def _swap(times: Floats, slots: Ints, i: int, j: int) -> None:
    for k in range(2):
        times[i, k], times[j, k] = times[j, k], times[i, k]
    for k in range(5):
        slots[i, k], slots[j, k] = slots[j, k], slots[i, k]


@jitted
def _sift_up(times: Floats, slots: Ints, i: int) -> None:
    while i > 0:
        up = (i - 1) >> 1
        if times[up, 0] <= times[i, 0]:
            return
        _swap(times, slots, i, up)
        i = up


@jitted
def _sift_down(times: Floats, slots: Ints, size: int) -> None:
    _swap(times, slots, 0, size)
    i = 0
    while True:
        low = 2 * i + 1
        if low >= size:
            return
        if low + 1 < size and times[low + 1, 0] < times[low, 0]:
            low += 1
        if times[i, 0] <= times[low, 0]:
            return
        _swap(times, slots, i, low)
        i = low


@jitted
def _add_busy(unit: Ints, clock: Floats, s: int, now: float) -> None:
    running = 0
    for h in range(unit.shape[1]):
        running += unit[s, h, BUSY]
    clock[s, BUSY_FOR] += running * (now - clock[s, BUSY_SINCE])
    clock[s, BUSY_SINCE] = now


@jitted
def _end(c: State, event: int, outcome: int, now: float) -> None:
    c.fate[event, OUTCOME] = outcome
    c.done_s[event] = now if outcome == FULL else np.inf
    c.gone_s[event] = now if outcome == SHED else np.inf
    c.done[c.size[DONE]] = event
    c.size[DONE] += 1


@jitted
def _enqueue(c: State, s: int, event: int, at_s: float) -> None:
    c.queue_event[s, c.stage[s, TAIL]] = event
    c.queue_s[s, c.stage[s, TAIL]] = at_s
    c.stage[s, TAIL] += 1


@jitted
def _skip(c: State, s: int, now: float) -> None:
    """Leave out a member for all events that are there: a join then waits for one less, where it can do so."""
    while c.stage[s, HEAD] < c.stage[s, TAIL] and c.queue_s[s, c.stage[s, HEAD]] <= now:
        event = c.queue_event[s, c.stage[s, HEAD]]
        c.queue_event[s, c.stage[s, HEAD]] = -1
        c.stage[s, HEAD] += 1
        if event < 0 or c.fate[event, OUTCOME] != PENDING:
            continue
        c.stage[s, DROPPED] += 1
        lost, ways = False, 0
        for e in range(c.stage[s, OUT_BEGIN], c.stage[s, OUT_END]):
            to = c.out_to[e]
            if c.taken[event, e]:
                ways += 1
                c.way[event, to, POSSIBLE] -= 1
                if c.way[event, to, POSSIBLE] == 0:
                    lost = True
                if 0 < c.way[event, to, POSSIBLE] < c.way[event, to, NEED]:
                    c.way[event, to, NEED] = c.way[event, to, POSSIBLE]
                    if c.way[event, to, GOT] == c.way[event, to, NEED]:
                        _enqueue(c, to, event, now + c.fixed[HOP])
        if lost or ways == 0:
            _end(c, event, SHED, now)


@jitted
def _drop(c: State, s: int, event: int, now: float) -> None:
    """Leave stage ``s`` out for one event: a join may do without it, anything else gives the event up."""
    c.stage[s, DROPPED] += 1
    lost = c.stage[s, OUT_BEGIN] == c.stage[s, OUT_END]
    ways = 0
    for e in range(c.stage[s, OUT_BEGIN], c.stage[s, OUT_END]):
        if c.taken[event, e]:
            ways += 1
            to = c.out_to[e]
            c.way[event, to, POSSIBLE] -= 1
            if c.way[event, to, POSSIBLE] < c.way[event, to, NEED]:
                lost = True
    if lost or ways == 0:
        _end(c, event, SHED, now)


@jitted
def _start(c: State, s: int, h: int, now: float) -> bool:
    """Start one batch on an idle replica of hardware ``h``; False where nothing that waits is worth computing."""
    lo = c.stage[s, HEAD]
    i, size, first = lo, 0, -1
    # Who is taken along ends with the batch that forms of all that wait, not with one of his own.
    waiting = 0
    while waiting < c.unit[s, h, BATCH] and lo + waiting < c.stage[s, TAIL] and c.queue_s[s, lo + waiting] <= now:
        waiting += 1
    needs_s = c.latency_s[s, h, waiting] + c.clock[s, SHED_BELOW]
    while i < c.stage[s, TAIL] and size < c.unit[s, h, BATCH] and c.queue_s[s, i] <= now:
        event = c.queue_event[s, i]
        if event >= 0 and c.fate[event, OUTCOME] != PENDING:
            c.queue_event[s, i] = -1
        elif event >= 0:
            if c.clock[s, SHED_BELOW] >= 0.0 and now + needs_s > c.arrival_s[event] + c.fixed[DEADLINE]:
                c.queue_event[s, i] = -1
                _drop(c, s, event, now)
            else:
                if size == 0:
                    first = event
                size += 1
        i += 1
    c.stage[s, HEAD] = i
    if size == 0:
        return False
    _add_busy(c.unit, c.clock, s, now)
    c.unit[s, h, IDLE] -= 1
    c.unit[s, h, BUSY] += 1
    c.stage[s, IN_SERVICE] += size
    c.stage[s, STARTED] += size
    c.stage[s, BATCHES] += 1
    # Jitter belongs to the event that leads the batch, not to the policy: common random numbers.
    key = (np.uint64(first) * _MIX[0] + np.uint64(s) * _MIX[1]) >> np.uint64(40)
    took = c.latency_s[s, h, size] * (1.0 + c.paid[s, h, JITTER] * c.jitter[np.int64(key) & (c.jitter.size - 1)])
    at = c.size[HEAP]
    c.times[at, 0] = now + took
    c.times[at, 1] = took
    c.slots[at, 0], c.slots[at, 1], c.slots[at, 2], c.slots[at, 3], c.slots[at, 4] = s, h, lo, i, size
    c.size[HEAP] += 1
    _sift_up(c.times, c.slots, at)
    return True


@jitted
def _finish(c: State) -> int:
    """End the batch on top of the heap, send its events on; return its stage."""
    now = c.times[0, 0]
    s, h, lo, hi = c.slots[0, 0], c.slots[0, 1], c.slots[0, 2], c.slots[0, 3]
    c.served[s, c.slots[0, 4]] += 1
    c.served_s[s, c.slots[0, 4]] += c.times[0, 1]
    c.size[HEAP] -= 1
    _sift_down(c.times, c.slots, c.size[HEAP])
    _add_busy(c.unit, c.clock, s, now)
    c.unit[s, h, BUSY] -= 1
    if c.unit[s, h, LEAVING] > 0:
        c.unit[s, h, LEAVING] -= 1
        c.paid[s, h, BILLED] += min(now, c.fixed[BILL_END])
    else:
        c.unit[s, h, IDLE] += 1
    for i in range(lo, hi):
        event = c.queue_event[s, i]
        if event < 0:
            continue
        c.stage[s, IN_SERVICE] -= 1
        c.stage[s, FINISHED] += 1
        if c.fate[event, OUTCOME] != PENDING:
            continue
        onward = False
        for e in range(c.stage[s, OUT_BEGIN], c.stage[s, OUT_END]):
            if c.taken[event, e]:
                onward = True
                to = c.out_to[e]
                c.way[event, to, GOT] += 1
                if c.way[event, to, GOT] == c.way[event, to, NEED]:
                    _enqueue(c, to, event, now + c.fixed[HOP])
        if not onward:
            c.fate[event, ENDS] -= 1
            if c.fate[event, ENDS] == 0:
                _end(c, event, FULL, now)
    return int(s)


@jitted
def _wake(c: State, s: int) -> float:
    """Return when a batch can start at stage ``s``, or inf: nothing waits, or nobody is idle."""
    most = 0
    if c.stage[s, SKIP] and c.stage[s, HEAD] < c.stage[s, TAIL]:
        return float(c.queue_s[s, c.stage[s, HEAD]])
    for h in range(c.unit.shape[1]):
        if c.unit[s, h, IDLE] > 0 and c.unit[s, h, BATCH] > most:
            most = c.unit[s, h, BATCH]
    lo = c.stage[s, HEAD]
    if most == 0 or lo >= c.stage[s, TAIL]:
        return np.inf
    first = c.queue_s[s, lo]
    if c.clock[s, WAIT] <= 0.0:
        return float(first)
    if c.stage[s, TAIL] - lo >= most:
        return float(min(first + c.clock[s, WAIT], c.queue_s[s, lo + most - 1]))
    return float(first + c.clock[s, WAIT])


@jitted
def _next_ready(c: State, s: int, h: int) -> float:
    if c.unit[s, h, OPENED] == c.unit[s, h, LAUNCHED]:
        return np.inf
    return float(c.ready_s[s, h, c.unit[s, h, OPENED] % c.ready_s.shape[2]])


@jitted
def advance(c: State, begin_s: float, until_s: float) -> None:  # noqa: C901, PLR0912 - a loop per kind of event
    """Let everything happen that happens before ``until_s``; the plant stood at ``begin_s``."""
    stages, kinds = c.unit.shape[0], c.unit.shape[1]
    wake = np.empty(stages)
    ready = np.inf
    for s in range(stages):
        wake[s] = _wake(c, s)
        for h in range(kinds):
            ready = min(ready, _next_ready(c, s, h))
    while True:
        at = -1
        now = np.inf
        for s in range(stages):
            if wake[s] < now:
                now, at = wake[s], s
        # What has been due since before (a queue met by a batch that shrank) starts now, not in the past.
        now = max(now, begin_s)
        ended = c.times[0, 0] if c.size[HEAP] > 0 else np.inf
        if ready <= now and ready <= ended and ready < until_s:
            now, ready = ready, np.inf
            for s in range(stages):
                for h in range(kinds):
                    while _next_ready(c, s, h) <= now:
                        c.unit[s, h, OPENED] += 1
                        c.unit[s, h, IDLE] += 1
                    ready = min(ready, _next_ready(c, s, h))
                wake[s] = max(_wake(c, s), now)
        elif ended <= now and ended < until_s:
            s = _finish(c)
            wake[s] = max(_wake(c, s), ended)
            for e in range(c.stage[s, OUT_BEGIN], c.stage[s, OUT_END]):
                wake[c.out_to[e]] = max(_wake(c, c.out_to[e]), ended)
        elif at >= 0 and now < until_s:
            if c.stage[at, SKIP]:
                _skip(c, at, now)
                for e in range(c.stage[at, OUT_BEGIN], c.stage[at, OUT_END]):
                    wake[c.out_to[e]] = max(_wake(c, c.out_to[e]), now)
            for k in range(kinds):
                h = c.unit[at, k, PREFER]
                if c.stage[at, SKIP]:
                    break
                if c.unit[at, h, IDLE] > 0 and c.unit[at, h, BATCH] > 0:
                    _start(c, at, h, now)
                    break
            wake[at] = max(_wake(c, at), now)
        else:
            break
    for s in range(stages):
        _add_busy(c.unit, c.clock, s, until_s)
        while c.stage[s, SEEN] < c.stage[s, TAIL] and c.queue_s[s, c.stage[s, SEEN]] < until_s:
            c.stage[s, SEEN] += 1
            c.stage[s, ARRIVED] += 1


@jitted
def resize(c: State, s: int, h: int, now: float, wanted: int, standing: bool) -> int:  # noqa: FBT001 - compiled: by position
    """Bring the replicas that stay, starting ones included, to ``wanted``; return by how much it changed.

    Up: who is leaving stays, then launches (up at once where ``standing``). Down: the newest launches are cancelled
    first, then the idle end, then the busy leave with their batch.
    """
    pending = c.unit[s, h, LAUNCHED] - c.unit[s, h, OPENED]
    have = pending + c.unit[s, h, IDLE] + c.unit[s, h, BUSY] - c.unit[s, h, LEAVING]
    change = wanted - have
    for _ in range(change):
        if c.unit[s, h, LEAVING] > 0:
            c.unit[s, h, LEAVING] -= 1
            continue
        c.paid[s, h, BILLED] -= min(now, c.fixed[BILL_END])
        if standing:
            c.unit[s, h, IDLE] += 1
        else:
            c.ready_s[s, h, c.unit[s, h, LAUNCHED] % c.ready_s.shape[2]] = now + c.paid[s, h, STARTUP]
            c.unit[s, h, LAUNCHED] += 1
    for _ in range(-change):
        if c.unit[s, h, LAUNCHED] > c.unit[s, h, OPENED]:
            c.unit[s, h, LAUNCHED] -= 1
            c.paid[s, h, BILLED] += min(now, c.fixed[BILL_END])
        elif c.unit[s, h, IDLE] > 0:
            c.unit[s, h, IDLE] -= 1
            c.paid[s, h, BILLED] += min(now, c.fixed[BILL_END])
        else:
            c.unit[s, h, LEAVING] += 1
    return int(change)


@jitted
def play(c: State, ticks: int, replicas: Ints, batch: Ints, late_limit: int) -> int:
    """Play a whole schedule, ``replicas`` and ``batch`` [seconds, S, H], without asking anybody; return the misses.

    Stops when more than ``late_limit`` events are known to miss; the last row stays in force until the end.
    """
    rows, stages, kinds = replicas.shape
    late, told = 0, 0
    for tick in range(ticks):
        if tick >= rows and c.size[DONE] == c.arrival_s.size and c.size[HEAP] == 0:
            break
        if tick < rows:
            for s in range(stages):
                for h in range(kinds):
                    resize(c, s, h, float(tick), replicas[tick, s, h], tick == 0)
                    c.unit[s, h, BATCH] = batch[tick, s, h]
        advance(c, float(tick), tick + 1.0)
        while told < c.size[DONE]:
            event = c.done[told]
            if c.done_s[event] - c.arrival_s[event] > c.fixed[DEADLINE]:
                late += 1
            told += 1
        if late > late_limit:
            return late
    return int(late + c.arrival_s.size - c.size[DONE])
