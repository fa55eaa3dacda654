"""What was read from the topics, remembered within bounds: a function of the records, no I/O, no clock."""

from __future__ import annotations

import base64
import math
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from guidevane.control.audit import Chain
from guidevane.control.bill import BILL
from guidevane.errors import Reject
from guidevane.events import derived_id
from guidevane.runtime.deadletter import PREFIX, reasons
from guidevane.runtime.obeying import read_control
from guidevane.services.admin.figures import WINDOW_S, Figures
from guidevane.services.admin.index import DecisionIndex
from guidevane.services.admin.views import (
    Alert,
    AuditRow,
    Cost,
    DeadLetter,
    DecisionRecord,
    Objective,
    PipelineBrief,
    PipelineState,
    Place,
    Settings,
    Steering,
)
from guidevane.telemetry import names
from guidevane.topics import AUDIT, CONTROL, TELEMETRY, Topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guidevane.codec import Codec
    from guidevane.events import Audit, Control, Telemetry
    from guidevane.log import Record
    from guidevane.pipeline import Pipeline
    from guidevane.slo import Latency

REMEMBERED = 1_000
_SHOWN_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Subject:
    """What the room must know of a pipeline: its objective, and what each member's model is."""

    name: str
    slo: Latency
    models: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pipeline: Pipeline) -> Subject:
        """Return the subject of a pipeline."""
        return cls(pipeline.name, pipeline.slo, {member.name: member.model for member in pipeline.ensemble.members})


class Watch:
    """What is remembered of one pipeline."""

    def __init__(self, subject: Subject, codec: Codec, *, index_size: int) -> None:
        self.subject = subject
        self.topics = Topics(subject.name)
        self.index = DecisionIndex(self.topics.decisions, size=index_size)
        self.figures = Figures()
        self.alerts: deque[Alert] = deque(maxlen=REMEMBERED)
        self.dead_letters: deque[DeadLetter] = deque(maxlen=REMEMBERED)
        self.control: dict[str, Control] = {}
        self._codec = codec
        self._pick = codec.picker("decision", ("decision_id",))

    def on_decisions(self, records: Sequence[Record]) -> int:
        """Remember where the decisions of one partition lie; return how many could not be read.

        Of each no more than its id is read; the rest is when it is shown.
        """
        ids: list[str] = []
        kept: list[Record] = []
        for record in records:
            with suppress(Reject):
                ids.append(self._pick(record.value, record.headers)[0])
                kept.append(record)
        if kept:
            offsets, times_us = [each.offset for each in kept], [each.timestamp_us for each in kept]
            self.index.add_all(ids, kept[0].partition, offsets, decided_at_us=times_us)
        return len(records) - len(kept)

    def on_alert(self, record: Record) -> None:
        """Remember an alert."""
        alert = self._codec.decode("alert", record.value, record.headers)
        evidence = {name: value if math.isfinite(value) else None for name, value in alert["evidence"].items()}
        self.alerts.append(Alert(**{**alert, "evidence": evidence}))

    def on_dead_letter(self, record: Record) -> None:
        """Remember a dead letter, the beginning of its value at most."""
        self.dead_letters.append(dead_letter_of(record))

    def decision_id_of(self, event_id: str) -> str:
        """Return the id of the decision on an event: derived, so that one index answers for both."""
        return derived_id(self.subject.name, event_id)

    def brief(self, now_us: int) -> PipelineBrief:
        """Return the pipeline's line in the list."""
        return PipelineBrief(
            name=self.subject.name,
            decisions_per_s=self.figures.total(names.DECISIONS_TOTAL, now_us),
            end_to_end=self.figures.end_to_end(self.subject.slo.within_ms, now_us),
            rooms=sum(not each.silent for each in self.figures.rooms(now_us)),
            alerts=len(self.alerts),
            dead_letters=len(self.dead_letters),
        )

    def state(self, now_us: int, last_models: Mapping[str, str]) -> PipelineState:
        """Return how the pipeline is doing; ``last_models`` made the last decision, for members that are silent now."""
        slo, figures = self.subject.slo, self.figures
        return PipelineState(
            name=self.subject.name,
            at_us=now_us,
            window_s=WINDOW_S,
            slo=Objective(p=slo.p, within_ms=slo.within_ms, budget=slo.allowed),
            end_to_end=figures.end_to_end(slo.within_ms, now_us),
            decisions_per_s=figures.rates(names.DECISIONS_TOTAL, "outcome", now_us),
            dead_letters_per_s=figures.total(names.DEAD_LETTERS_TOTAL, now_us),
            lag_records=figures.gauges(names.CONSUMER_LAG_RECORDS, "topic", now_us),
            stages=figures.stages(now_us),
            members=figures.members(self.subject.models, last_models, now_us),
            rooms=figures.rooms(now_us),
            # The bill is told as what it costs, below.
            control=[_settings(each) for room, each in sorted(self.control.items()) if room != BILL],
            cost=_cost(figures, now_us),
        )

    def steering(self, now_us: int) -> Steering:
        """Return whether the pipeline's controller steers."""
        told = self.control.get("controller")
        heard = [each.heard_s for each in self.figures.rooms(now_us) if each.room == "controller"]
        return Steering(
            pipeline=self.subject.name,
            paused=bool(told and told["settings"].get("paused")),
            since_us=told["at_us"] if told else None,
            actor=told["actor"] if told else "",
            reason=told["reason"] if told else "",
            epoch=told["epoch"] if told else 0,
            heard_s=min(heard, default=None),
        )


class State:
    """Everything the room remembers; :meth:`follow` is its only way in."""

    def __init__(self, subjects: Iterable[Subject], codec: Codec, *, index_size: int) -> None:
        self.watches = {each.name: Watch(each, codec, index_size=index_size) for each in subjects}
        self.chain = Chain()
        self.broken_at: Place | None = None
        self.audit: deque[AuditRow] = deque(maxlen=REMEMBERED)
        self.undecodable: Counter[str] = Counter()
        self._codec = codec
        self._control = codec.decoder("control")
        self._routes = {TELEMETRY: self._on_telemetry, CONTROL: self._on_control, AUDIT: self._on_audit}
        for watch in self.watches.values():
            topics = watch.topics
            self._routes |= {topics.alerts: watch.on_alert, topics.dlq: watch.on_dead_letter}
        self._watching = {watch.topics.decisions: watch for watch in self.watches.values()}

    @property
    def topics(self) -> list[str]:
        """Return the topics to follow: all but the decisions, which are read when somebody asks for one."""
        return list(self._routes)

    def follow(self, records: Sequence[Record]) -> None:
        """Take the records of one partition in; those that cannot be read are counted."""
        topic = records[0].topic
        if watch := self._watching.get(topic):
            if unread := watch.on_decisions(records):
                self.undecodable[topic] += unread
            return
        for record in records:
            try:
                self._routes[topic](record)
            except Reject:
                self.undecodable[topic] += 1

    def _on_telemetry(self, record: Record) -> None:
        telemetry = cast("Telemetry", self._codec.decode("telemetry", record.value, record.headers))
        if watch := self.watches.get(telemetry["pipeline"]):
            watch.figures.follow(telemetry)

    def _on_control(self, record: Record) -> None:
        # A tombstone takes a setting back; what it was is then nobody's business.
        if record.value is None:
            return
        control = read_control(record, self._control)
        watch = self.watches.get(control["pipeline"])
        if watch is not None:
            before = watch.control.get(control["room"])
            if before is None or control["epoch"] > before["epoch"]:
                watch.control[control["room"]] = control

    def _on_audit(self, record: Record) -> None:
        row = cast("Audit", self._codec.decode("audit", record.value, record.headers))
        match self.chain.follow(row):
            case "continues":
                self.audit.append(AuditRow(**row))
            case "broken":
                self.broken_at = self.broken_at or place_of(record)
                self.audit.append(AuditRow(**row))
            case "lost":
                """It counts for nothing: its writer writes it again."""


def _cost(figures: Figures, now_us: int) -> Cost | None:
    """Return what the pipeline costs. Of two controllers one bills; what the other said when it did is less."""
    parts = figures.gauges(names.COST_USD_PER_HOUR, "part", now_us, most=True)
    if not parts:
        return None
    per_1000 = figures.gauges(names.COST_USD_PER_THOUSAND_DECISIONS, "", now_us, most=True)
    return Cost(
        usd_per_hour=parts,
        usd_per_1000_decisions=per_1000.get(""),
        month_usd=figures.gauges(names.COST_MONTH_USD, "of", now_us, most=True),
    )


def place_of(record: Record) -> Place:
    """Return where a record lies."""
    return Place(topic=record.topic, partition=record.partition, offset=record.offset)


def decision_of(record: Record, codec: Codec) -> DecisionRecord:
    """Return a decision as it is shown. Raises ``Reject`` where the record holds none."""
    body = codec.decode("decision", record.value, record.headers)
    return DecisionRecord(place=place_of(record), decided_at_us=record.timestamp_us, decision=_finite(body))


def dead_letter_of(record: Record) -> DeadLetter:
    """Return a dead letter as it is shown; whatever a header lacks is left open."""
    why, value = reasons(record), record.value
    event_id = record.header("event_id")
    return DeadLetter(
        place=place_of(record),
        source=_source(why),
        stage=why.get("stage", ""),
        cause=why.get("exception.class", ""),
        message=why.get("message", ""),
        group=why.get("group", ""),
        attempts=why.get("delivery.count", ""),
        died_at_ms=why.get("timestamp", ""),
        event_id=None if event_id is None else event_id.decode(errors="replace"),
        key_base64=None if record.key is None else base64.b64encode(record.key[:_SHOWN_BYTES]).decode(),
        headers={
            name: None if content is None else content.decode(errors="replace")[:_SHOWN_BYTES]
            for name, content in record.headers
            if not name.startswith(PREFIX)
        },
        value_base64=None if value is None else base64.b64encode(value[:_SHOWN_BYTES]).decode(),
        value_bytes=len(value or b""),
    )


def _source(why: Mapping[str, str]) -> Place | None:
    partition, offset = why.get("partition", ""), why.get("offset", "")
    if not (partition.isdecimal() and offset.isdecimal()):
        return None
    return Place(topic=why.get("topic", ""), partition=int(partition), offset=int(offset))


def _settings(control: Control) -> Settings:
    return Settings(**{name: value for name, value in control.items() if name != "pipeline"})  # type: ignore[arg-type]


def _finite(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in body.items()
    }
