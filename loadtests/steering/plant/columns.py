"""What a run of the plant is made of: arrays, and what their columns mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

PENDING, FULL, SHED = 0, 1, 2
"""An event's outcome so far: on its way (or never finished), decided, given up on purpose."""

# What the columns of State mean. Few arrays with columns, not many arrays: each costs time whenever this is compiled.
BATCH, IDLE, BUSY, LEAVING, LAUNCHED, OPENED, PREFER = range(7)
UNIT = 7
HEAD, SEEN, TAIL, IN_SERVICE, SKIP, OUT_BEGIN, OUT_END, ARRIVED, STARTED, FINISHED, BATCHES, DROPPED = range(12)
STAGE = 12
WAIT, SHED_BELOW, BUSY_SINCE, BUSY_FOR = range(4)
CLOCK = 4
STARTUP, BILLED, JITTER = range(3)
PAID = 3
HOP, DEADLINE, BILL_END = range(3)
HEAP, DONE = range(2)
NEED, POSSIBLE, GOT = range(3)
OUTCOME, ENDS = range(2)


class State(NamedTuple):
    """Everything that a run is made of. S stages in topological order, H kinds of hardware, E edges, n events.

    Times are seconds since the run began. Arrays are written in place.
    """

    unit: Ints
    """[S, H, 7] the largest BATCH; replicas that are IDLE, BUSY, and of these LEAVING with their batch; how many were
    LAUNCHED, of which OPENED came up; PREFER: the hardware in the order in which idle replicas are taken."""
    stage: Ints
    """[S, 12] HEAD: first in the queue, SEEN: first that has not arrived yet, TAIL: end of what is written; events
    IN_SERVICE; SKIP 1: members that the ensemble level leaves out; edges are OUT_BEGIN:OUT_END; then running totals of
    events that ARRIVED, STARTED, FINISHED, of BATCHES, and of visits DROPPED."""
    clock: Floats
    """[S, 4] WAIT: how long a batch may wait to fill; SHED_BELOW: an event whose batch would end with less time left
    is given up (negative: never); BUSY_FOR: replica-seconds of work, added up to BUSY_SINCE."""
    paid: Floats
    """[S, H, 3] STARTUP seconds; BILLED: replica-seconds, each launch subtracted and each end added at its time; the
    profile's JITTER."""
    fixed: Floats
    """[3] seconds: HOP, DEADLINE, and BILL_END, after which nothing is paid for."""
    size: Ints
    """[2] of HEAP and of DONE."""
    out_to: Ints
    """[E] where each edge leads."""
    latency_s: Floats
    """[S, H, B+1] of a batch of 0..B; B the largest in any table."""
    arrival_s: Floats
    """[n]"""
    taken: Bytes
    """[n, E] the way of each event."""
    way: Bytes
    """[n, S, 3] NEED: arrivals that start the event at a stage (0: it does not come there); those
    still POSSIBLE; those it GOT."""
    fate: Bytes
    """[n, 2] OUTCOME, and how many stages are to finish before the event ENDS."""
    done_s: Floats
    """[n] when it was decided; inf until then."""
    gone_s: Floats
    """[n] when it was given up; inf where it was not."""
    jitter: Floats
    """[2**k] draws of abs(N(0, 1)): a batch takes its latency times 1 + JITTER of one of them."""
    queue_event: Small
    """[S, n]; -1 where the visit was dropped."""
    queue_s: Floats
    """[S, n] when it arrives in the queue."""
    ready_s: Floats
    """[S, H, L] ring of when pending launches come up."""
    times: Floats
    """[R, 2] heap of running batches: end, duration."""
    slots: Ints
    """[R, 5] with it: stage, hardware, slice of the queue, events in it."""
    served: Ints
    """[S, B+1] batches that ended, by size."""
    served_s: Floats
    """[S, B+1] how long they took, together."""
    done: Small
    """[n] events in the order in which they were decided or shed."""
