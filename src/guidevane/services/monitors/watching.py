"""What the room does with one record: decode it, show it to the monitors, join it; pure but for its own memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from guidevane.columns import Columns
from guidevane.errors import Reject
from guidevane.events import derived_id
from guidevane.log import Message, Record
from guidevane.log.murmur import murmur2
from guidevane.log.murmurs import murmur2_all
from guidevane.monitors.monitor import Batch, Seen, watch
from guidevane.monitors.outcomes import KEPT, constants
from guidevane.monitors.panel import Panel
from guidevane.runtime.deadletter import dead_letter, reasons
from guidevane.runtime.sizes import Sizes
from guidevane.services.monitors.labels import read_label
from guidevane.services.passing import EVENT_ID
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.coded import Column
    from guidevane.events import Accepted, Alert, Decision, Outcome
    from guidevane.monitors.monitor import Monitor, Source, State
    from guidevane.monitors.outcomes import OutcomeJoin
    from guidevane.monitors.remembered import Row
    from guidevane.pipeline import Pipeline
    from guidevane.telemetry.metrics import Metrics

STAGE = "monitors"
_log = logging.getLogger(__name__)


class Output(NamedTuple):
    """One message to write. ``identity`` is the same whenever the same thing is said again.

    ``metric`` and ``labels`` are what it counts as once it is written.
    """

    topic: str
    partition: int
    message: Message
    identity: str
    metric: str
    labels: Mapping[str, str]


class Watcher:
    """The monitors and the label join of one pipeline.

    The same records in the same order give the same outputs, across ``state`` and ``restore``.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        join: OutcomeJoin,
        *,
        group: str,
        partitions: Mapping[str, int],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.join = join
        self.sizes = Sizes()
        self._topics = topics = pipeline.topics
        self._group = group
        self._partitions = partitions
        self._clock = clock
        self._metrics = metrics
        self._monitors: list[tuple[str, Monitor]] = []
        watching: dict[Source, list[Monitor]] = {"accepted": [], "decisions": [], "outcomes": []}
        event = pipeline.event
        for declared, monitor in watch(pipeline.monitors, pipeline):
            # What a state was made under; frozen words are equal where their reprs are.
            self._monitors.append((derived_id(repr(declared), event.contract, repr(event.ranges)), monitor))
            watching[monitor.reads].append(monitor)
        self._watching = {source: Panel(monitors) for source, monitors in watching.items()}
        # Our own topics are trusted, as in every room; labels come from the world.
        self._accepted = codec.decoder("accepted", trusted=True)
        self._event = codec.decoder(event.name, trusted=True)
        self._decision = codec.decoder("decision", trusted=True)
        latest = codec.catalogue.latest
        self._pick_event = codec.picker("accepted", ("event",))
        # Whatever is asked for, an event that cannot be read is counted.
        self._fields = self._watching["accepted"].fields or (event.key,)
        self._pick_fields = codec.picker(event.name, self._fields)
        self._columns_of_events = Columns(latest(event.name), self._fields, within=(latest("accepted"), "event"))
        self._kept = tuple(dict.fromkeys(("event_id", *KEPT, *self._watching["decisions"].fields)))
        self._pick_decision = codec.picker("decision", self._kept)
        self._columns_of_decisions = Columns(latest("decision"), self._kept)
        self._label = codec.decoder("label")
        self._outcome, self._alert = codec.encoder("outcome"), codec.encoder("alert")
        self._read_outcome, self._read_alert = (codec.decoder(name, trusted=True) for name in ("outcome", "alert"))
        self._take = {
            topics.accepted: self._take_accepted,
            topics.decisions: self._take_decisions,
            topics.labels: self._take_labels,
        }

    def take(self, records: Sequence[Record]) -> list[Output]:
        """Take the records of one partition, in order; return what there is to say about them.

        However they are cut into calls, the same is said, and remembered.
        """
        outputs, rejected = self._take[records[0].topic](records)
        self._metrics.count(names.EVENTS_TOTAL, len(records) - rejected, stage=STAGE, result="out")
        if rejected:
            self._metrics.count(names.EVENTS_TOTAL, rejected, stage=STAGE, result="reject")
        return outputs

    def _take_accepted(self, records: Sequence[Record]) -> tuple[list[Output], int]:
        panel = self._watching["accepted"]
        if not panel.monitors:
            return [], 0

        def pick(record: Record) -> tuple[Any, ...]:
            return self._pick_fields(self._pick_event(record.value, record.headers)[0])

        kept, columns = _read(records, self._columns_of_events, pick, self._fields)

        def seen(at: int) -> Seen:
            accepted = cast("Accepted", self._accepted(kept[at].value, kept[at].headers))
            return Seen(accepted["event_id"], accepted["event_time_us"], self._event(accepted["event"]))

        said = panel.show(Batch(kept, columns, seen))
        return [self._said(alert) for _, alert in said], len(records) - len(kept)

    def _take_decisions(self, records: Sequence[Record]) -> tuple[list[Output], int]:
        def pick(record: Record) -> tuple[Any, ...]:
            return self._pick_decision(record.value, record.headers)

        kept, columns = _read(records, self._columns_of_decisions, pick, self._kept)
        rejected = len(records) - len(kept)
        if not kept:
            return [], rejected

        def seen(at: int) -> Seen:
            decision = cast("Decision", self._decision(kept[at].value, kept[at].headers))
            return Seen(decision["event_id"], decision["event_time_us"], decision)

        batch = Batch(kept, columns, seen)
        written_at_us = [record.timestamp_us for record in kept]
        first, joined = self.join.decide_all(batch.column("event_id"), constants(batch), written_at_us=written_at_us)
        if len(first) < len(kept):
            batch = batch.some(first)
        said = self._watching["decisions"].show(batch)
        found = [(at, self._said(alert)) for at, alert in said] + self._joined(joined)
        # What is said of a decision comes before what is said of its outcome: the order is stable.
        return [output for _, output in sorted(found, key=_place)], rejected

    def _take_labels(self, records: Sequence[Record]) -> tuple[list[Output], int]:
        joined: list[tuple[int, Outcome]] = []
        refused: list[tuple[int, Output]] = []
        for at, record in enumerate(records):
            try:
                label = read_label(record, self._label)
            except Reject as reject:
                # Labels are ours alone to refuse.
                refused.append((at, self._refuse(record, reject)))
                continue
            if outcome := self.join.label(label, written_at_us=record.timestamp_us):
                joined.append((at, outcome))
        found = sorted(refused + self._joined(joined), key=_place)
        return [output for _, output in found], len(refused)

    def _joined(self, joined: Sequence[tuple[int, Outcome]]) -> list[tuple[int, Output]]:
        """Return each outcome with what the monitors say of it behind it, at the place of its record."""
        if not joined:
            return []
        outcomes = [outcome for _, outcome in joined]
        panel = self._watching["outcomes"]
        columns: dict[str, list[Any]] = {
            name: [cast("Mapping[str, Any]", each)[name] for each in outcomes] for name in panel.fields
        }

        def seen(at: int) -> Seen:
            return Seen(outcomes[at]["event_id"], outcomes[at]["event_time_us"], outcomes[at])

        found = [(at, 0, output) for at, output in enumerate(self._emitted(outcomes))]
        found += [(at, 1, self._said(alert)) for at, alert in panel.show(Batch(outcomes, columns, seen))]
        return [(joined[at][0], output) for at, _, output in sorted(found, key=lambda each: each[:2])]

    def _emitted(self, outcomes: Sequence[Outcome]) -> list[Output]:
        keys = [outcome["event_id"].encode() for outcome in outcomes]
        topic, encode = self._topics.outcomes, self._outcome
        return [
            Output(
                topic, self._partition(topic, hashed), Message(key, encode(outcome), ((EVENT_ID, key),)),
                _outcome_identity(outcome), names.OUTCOMES_TOTAL, {},
            )
            for outcome, key, hashed in zip(outcomes, keys, murmur2_all(keys), strict=True)
        ]  # fmt: skip

    def _said(self, alert: Alert) -> Output:
        topic, key, event_id = self._topics.alerts, alert["monitor"].encode(), alert["event_id"].encode()
        message = Message(key, self._alert(alert), ((EVENT_ID, event_id),))
        identity, labels = _alert_identity(alert), {"kind": alert["kind"]}
        return Output(topic, self._partition(topic, murmur2(key)), message, identity, names.ALERTS_TOTAL, labels)

    def _partition(self, topic: str, hashed: int) -> int:
        # Java's partitioner, as send_keyed has it, without its wait for each single message.
        return (hashed & 0x7FFFFFFF) % self._partitions[topic]

    def _refuse(self, record: Record, reject: Reject) -> Output:
        letter = dead_letter(record, reject, stage=STAGE, group=self._group, now_us=self._clock.now_us())
        identity = _letter_identity(record.topic, str(record.partition), str(record.offset))
        labels = {"stage": STAGE, "cause": reject.cause}
        letter = self.sizes.letter(self._topics.dlq, letter)
        return Output(self._topics.dlq, record.partition, letter, identity, names.DEAD_LETTERS_TOTAL, labels)

    def identity(self, record: Record) -> str | None:
        """Return the identity of an output that is on the log; ``None`` for what is not of this room."""
        if record.topic == self._topics.dlq:
            why = reasons(record)
            return (
                _letter_identity(why["topic"], why["partition"], why["offset"]) if why.get("stage") == STAGE else None
            )
        try:
            if record.topic == self._topics.outcomes:
                return _outcome_identity(cast("Outcome", self._read_outcome(record.value, record.headers)))
            return _alert_identity(cast("Alert", self._read_alert(record.value, record.headers)))
        except Reject:
            return None

    def state(self) -> State:
        """Return all that is remembered, as JSON can hold it, but for the join's rows (``join.remembered``)."""
        return {
            "join": self.join.head(),
            "monitors": {monitor.name: [mark, monitor.state()] for mark, monitor in self._monitors},
        }

    def restore(self, state: State, pages: Sequence[tuple[int, Sequence[Row]]]) -> None:
        """Go on from ``state`` and the rows. A monitor that is new, or declared otherwise than it was, begins now."""
        self.join.restore({**state["join"], "pages": pages})
        for mark, monitor in self._monitors:
            was, known = state["monitors"].get(monitor.name, (None, None))
            if mark == was:
                monitor.restore(known)
            else:
                _log.warning("monitor %s is %s: it begins now", monitor.name, "changed" if was else "new")


def _read(
    records: Sequence[Record], columns: Columns, pick: Callable[[Record], tuple[Any, ...]], fields: Sequence[str]
) -> tuple[Sequence[Record], Mapping[str, Column]]:
    """Return the records that can be read, and the columns of their fields; other stages answer for those that cannot.

    All at once where that can be, or else one by one.
    """
    if found := columns([record.value for record in records]):
        return records, found
    kept: list[Record] = []
    rows: list[tuple[Any, ...]] = []
    for record in records:
        try:
            rows.append(pick(record))
        except Reject:
            continue
        kept.append(record)
    return kept, dict(zip(fields, zip(*rows, strict=True), strict=True)) if rows else {}


def _place(found: tuple[int, Output]) -> int:
    return found[0]


def _outcome_identity(outcome: Outcome) -> str:
    return f"outcome\x1f{outcome['event_id']}\x1f{outcome['revision']}"


def _alert_identity(alert: Alert) -> str:
    return f"alert\x1f{alert['alert_id']}"


def _letter_identity(topic: str, partition: str, offset: str) -> str:
    return f"letter\x1f{topic}\x1f{partition}\x1f{offset}"
