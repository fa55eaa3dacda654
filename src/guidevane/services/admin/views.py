"""What the admin room answers, as its OpenAPI document describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Heard = Annotated[float, Field(description="Seconds since it was last heard of.")]
Rate = Annotated[float, Field(description="Per second, over the window.")]


class Seen(BaseModel):
    """Whether the room itself has seen what it should."""

    ready: bool = Field(description="True once everything on the topics at the start was read.")
    reasons: list[str] = Field(description="What is missing.")
    behind_records: int = Field(description="Records known to be on the topics and not read yet.")
    undecodable: dict[str, int] = Field(description="Records that could not be read, by topic.")


class Objective(BaseModel):
    """The latency objective, end to end."""

    p: float
    within_ms: float
    budget: float = Field(description="Share of events that may miss, 0-1.")


class Percentiles(BaseModel):
    """A distribution over the window; estimates are within one bucket (a third) of the truth."""

    count: int
    p50_ms: float
    p99_ms: float


class EndToEnd(Percentiles):
    """From event time to the decision acknowledged."""

    late_share: float = Field(description="Share of decisions later than the objective, 0-1.")


class Stage(BaseModel):
    """One stage of the pipeline, all instances together."""

    stage: str
    per_s: dict[str, Rate] = Field(description="Records a second by result: out, reject, skip.")
    duration: Percentiles | None = Field(description="From the record's timestamp to the acknowledged output.")
    age: Percentiles | None = Field(description="From event time to the stage's output.")


class Member(BaseModel):
    """One model of the ensemble."""

    name: str
    model: str = Field(description="What the pipeline asks for.")
    versions: list[str] = Field(description="Versions that scored rows in the window, or made the last decision.")
    replicas: float | None = Field(description="Replicas wanted; null where nobody has said.")
    rows_per_s: Rate
    failures_per_s: Rate
    duration: Percentiles | None


class Room(BaseModel):
    """One process of one room."""

    room: str
    instance: str
    heard_s: Heard
    silent: bool = Field(description="True where it was not heard of for 10 s.")


class Settings(BaseModel):
    """What a room was told last on `guidevane.control`."""

    room: str
    settings: dict[str, float]
    epoch: int
    at_us: int
    actor: str
    reason: str


class Cost(BaseModel):
    """What a pipeline costs, US dollars, as its controller bills it: replicas from launch, and rooms' processes."""

    usd_per_hour: dict[str, float] = Field(description="Now, by part: a member's replicas, or `room <name>`.")
    usd_per_1000_decisions: float | None = Field(description="In this month (UTC) so far; null before the first.")
    month_usd: dict[str, float] = Field(
        description="`spent` so far; `p50` and `p90` of the whole month's bill. `p90` is missing in the first hours."
    )


class PipelineBrief(BaseModel):
    """One pipeline in the list."""

    name: str
    decisions_per_s: Rate
    end_to_end: EndToEnd | None
    rooms: int = Field(description="Processes heard of in the last 10 s.")
    alerts: int = Field(description="Alerts that are remembered.")
    dead_letters: int = Field(description="Dead letters that are remembered.")


class PipelineState(BaseModel):
    """How one pipeline is doing."""

    name: str
    at_us: int
    window_s: float = Field(description="Rates and percentiles are over this many seconds.")
    slo: Objective
    end_to_end: EndToEnd | None = Field(description="null where no decision was made in the window.")
    decisions_per_s: dict[str, Rate] = Field(description="By outcome: full, degraded, fallback, shed.")
    dead_letters_per_s: Rate
    lag_records: dict[str, float] = Field(description="Records not yet fetched, by topic.")
    stages: list[Stage]
    members: list[Member]
    rooms: list[Room]
    control: list[Settings]
    cost: Cost | None = Field(description="null where no controller was heard of.")


class Place(BaseModel):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class DecisionRecord(BaseModel):
    """One decision, and where it is written."""

    place: Place
    decided_at_us: int = Field(description="The broker's timestamp.")
    decision: dict[str, Any] = Field(description="The record itself: see `/v1/schemas/decision`.")


class Alert(BaseModel):
    """What a monitor said."""

    alert_id: str
    pipeline: str
    monitor: str
    kind: str
    signal: str
    message: str
    event_id: str
    event_time_us: int
    evidence: dict[str, float | None]


class DeadLetter(BaseModel):
    """An event that could not be decided, and why."""

    place: Place = Field(description="Where the dead letter lies.")
    source: Place | None = Field(description="Where the event lies.")
    stage: str
    cause: str
    message: str
    group: str
    attempts: str
    died_at_ms: str
    event_id: str | None
    key_base64: str | None
    headers: dict[str, str | None] = Field(description="The event's own headers; Kafka lets a value be null.")
    value_base64: str | None = Field(description="The event's bytes, at most the first 1,024.")
    value_bytes: int


class AuditRow(BaseModel):
    """Who changed what, and why."""

    model_config = ConfigDict(from_attributes=True)

    sequence: int
    at_us: int
    actor: str
    action: str
    object: str
    reason: str
    detail: str
    previous: str
    hash: str


class AuditLog(BaseModel):
    """The last rows of the audit log, newest first."""

    whole: bool = Field(description="True where every row that was read continues the one before.")
    broken_at: Place | None = Field(description="The first row that does not.")
    rows: list[AuditRow]


class Steering(BaseModel):
    """Whether the controller of one pipeline steers."""

    pipeline: str
    paused: bool
    since_us: int | None
    actor: str
    reason: str
    epoch: int
    heard_s: Heard | None = Field(description="Seconds since the controller was last heard of; null: never.")


class Controller(BaseModel):
    """The controllers, and what they did last, with reasons."""

    pipelines: list[Steering]
    actions: list[AuditRow] = Field(description="Newest first.")


class Order(BaseModel):
    """Why the controller shall pause or go on, and who says so; both are written to the audit log."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field(min_length=1, max_length=500)
    actor: str = Field(min_length=1, max_length=100)
    pipeline: str | None = Field(None, max_length=200, description="One pipeline; without it, all.")


class SchemaVersion(BaseModel):
    """One version of a contract."""

    version: int
    id: int = Field(description="The id in Confluent framing.")
    guid: str
    avro: dict[str, Any] | None = Field(None, description="The Avro schema.")


class Contract(BaseModel):
    """A contract and its versions, oldest first."""

    name: str
    versions: list[SchemaVersion]
