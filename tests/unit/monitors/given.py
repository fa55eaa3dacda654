"""What the monitors' tests are given: a contract, decisions, outcomes."""

from __future__ import annotations

from dataclasses import dataclass

from guidevane.event import Event
from guidevane.events import Decision, Label, derived_id

EVENT = Event(
    "test.person.v1",
    schema={
        "type": "record",
        "name": "test.person",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "age", "type": ["null", "double"]},
            {"name": "hours", "type": ["null", "double"]},
            {"name": "sex", "type": ["null", "string"]},
        ],
    },
    key="id",
    id="id",
    protected=("sex",),
    ranges={"age": (0.0, 100.0)},
)


@dataclass(frozen=True)
class Named:
    """A pipeline, as far as monitors care."""

    name: str
    event: Event


PIPELINE = Named("p", EVENT)


def decision(
    event_id: str, *, positive: bool = False, sex: str | None = "F", score: float | None = 0.5, at_us: int = 1
) -> Decision:
    return Decision(
        decision_id=derived_id("p", event_id),
        event_id=event_id,
        event_time_us=at_us,
        pipeline="p",
        score=score,
        probability=score,
        threshold=0.5,
        decision="yes" if positive else "no",
        positive=positive,
        outcome="full",
        models={"wide": "1"},
        protected={} if sex is None else {"sex": sex},
    )


def label(event_id: str, value: float, at_us: int | None = None) -> Label:
    return Label(event_id=event_id, label=value, observed_at_us=at_us)
