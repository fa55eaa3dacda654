"""The events on our own topics, as typed dicts: what fastavro reads and writes, with nothing in between.

The contracts are ``schemas/<event>/v<N>/schema.avsc``; a test holds these names to them.
Times are microseconds since the epoch (``_us``).
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypedDict

OutcomeKind = Literal["full", "degraded", "fallback", "shed"]
MemberStatus = Literal["ok", "late", "failed", "skipped"]


class Accepted(TypedDict):
    """An event that keeps its contract."""

    event_id: str
    event_time_us: int
    deadline_us: int
    ingested_at_us: int
    contract: str
    event: bytes
    protected: dict[str, str]


class Features(TypedDict):
    """The feature vector of one event: little-endian float32."""

    event_id: str
    event_time_us: int
    deadline_us: int
    feature_set: str
    vector: bytes
    protected: dict[str, str]


class MemberScore(TypedDict):
    """What one member said, or why it did not."""

    name: str
    version: str
    score: float | None
    status: MemberStatus
    latency_us: int


class Prediction(TypedDict):
    """What each member and the ensemble said about one event."""

    event_id: str
    event_time_us: int
    deadline_us: int
    score: float | None
    outcome: OutcomeKind
    members: list[MemberScore]
    batch_size: int
    queued_us: int
    protected: dict[str, str]


class Decision(TypedDict):
    """The answer to one event; holds nothing that a replay could not repeat to the byte."""

    decision_id: str
    event_id: str
    event_time_us: int
    pipeline: str
    score: float | None
    probability: float | None
    threshold: float | None
    decision: str
    positive: bool
    outcome: OutcomeKind
    models: dict[str, str]
    protected: dict[str, str]


class Label(TypedDict):
    """What turned out to be true of one event; the last one wins."""

    event_id: str
    label: float
    observed_at_us: int | None


class Outcome(TypedDict):
    """A decision joined with its label."""

    event_id: str
    decision_id: str
    event_time_us: int
    label: float
    label_at_us: int | None
    score: float | None
    probability: float | None
    positive: bool
    outcome: OutcomeKind
    revision: int
    models: dict[str, str]
    protected: dict[str, str]


class Alert(TypedDict):
    """A monitor has something to say."""

    alert_id: str
    pipeline: str
    monitor: str
    kind: str
    signal: str
    message: str
    event_id: str
    event_time_us: int
    evidence: dict[str, float]


class Histogram(TypedDict):
    """A distribution over the fixed buckets of ``guidevane.telemetry.histogram``."""

    count: int
    sum: float
    buckets: list[int]


class Arrived(TypedDict):
    """How many events of one half second of event time a stage answered."""

    stage: str
    from_us: int
    events: int


class ArrivedTenth(Arrived):
    """The same of one tenth of a second."""


class Telemetry(TypedDict):
    """What one instance of a room did in one interval."""

    at_us: int
    interval_s: float
    pipeline: str
    room: str
    instance: str
    counters: dict[str, float]
    gauges: dict[str, float]
    histograms: dict[str, Histogram]
    arrivals: list[Arrived]
    arrivals_by_tenth: list[ArrivedTenth]


class Control(TypedDict):
    """What a room shall do from now on."""

    pipeline: str
    room: str
    at_us: int
    epoch: int
    settings: dict[str, float]
    actor: str
    reason: str


class Audit(TypedDict):
    """Who changed what, and why."""

    sequence: int
    at_us: int
    actor: str
    action: str
    object: str
    reason: str
    detail: str
    previous: str
    hash: str


def derived_id(*parts: str) -> str:
    """Return an id that is the same for the same parts, for ever: 128 bits of BLAKE2b, in hex.

    >>> derived_id("employment", "e1") == derived_id("employment", "e1")
    True
    """
    # The unit separator keeps ("a", "bc") and ("ab", "c") apart.
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()
