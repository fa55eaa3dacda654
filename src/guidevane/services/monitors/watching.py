"""What the room does with one record: decode it, show it to the monitors, join it; pure but for its own memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, cast

from guidevane.errors import Reject
from guidevane.events import derived_id
from guidevane.log import Message, Record
from guidevane.log.murmur import murmur2
from guidevane.monitors.monitor import Seen, watch
from guidevane.runtime.deadletter import dead_letter, reasons
from guidevane.services.monitors.labels import read_label
from guidevane.services.passing import EVENT_ID
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.events import Accepted, Alert, Decision, Outcome
    from guidevane.monitors.monitor import Monitor, Source, State
    from guidevane.monitors.outcomes import OutcomeJoin
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
        self._topics = topics = pipeline.topics
        self._group = group
        self._partitions = partitions
        self._clock = clock
        self._metrics = metrics
        self._monitors: list[tuple[str, Monitor]] = []
        self._watching: dict[Source, list[Monitor]] = {"accepted": [], "decisions": [], "outcomes": []}
        event = pipeline.event
        for declared, monitor in watch(pipeline.monitors, pipeline):
            # What a state was made under; frozen words are equal where their reprs are.
            self._monitors.append((derived_id(repr(declared), event.contract, repr(event.ranges)), monitor))
            self._watching[monitor.reads].append(monitor)
        # Our own topics are trusted, as in every room; labels come from the world.
        self._accepted = codec.decoder("accepted", trusted=True)
        self._event = codec.decoder(pipeline.event.name, trusted=True)
        self._decision = codec.decoder("decision", trusted=True)
        self._label = codec.decoder("label")
        self._outcome, self._alert = codec.encoder("outcome"), codec.encoder("alert")
        self._read_outcome, self._read_alert = (codec.decoder(name, trusted=True) for name in ("outcome", "alert"))
        self._take = {
            topics.accepted: self._take_accepted,
            topics.decisions: self._take_decision,
            topics.labels: self._take_label,
        }

    def take(self, records: Sequence[Record]) -> list[Output]:
        """Take the records of one partition, in order; return what there is to say about them."""
        outputs: list[Output] = []
        rejected = 0
        for record in records:
            try:
                outputs += self._take[record.topic](record)
            except Reject as reject:
                rejected += 1
                # Other stages answer for the records of our own topics; labels are ours alone.
                if record.topic == self._topics.labels:
                    outputs.append(self._refuse(record, reject))
        self._metrics.count(names.EVENTS_TOTAL, len(records) - rejected, stage=STAGE, result="out")
        if rejected:
            self._metrics.count(names.EVENTS_TOTAL, rejected, stage=STAGE, result="reject")
        return outputs

    def _take_accepted(self, record: Record) -> list[Output]:
        accepted = cast("Accepted", self._accepted(record.value, record.headers))
        monitors = self._watching["accepted"]
        if not monitors:
            return []
        seen = Seen(accepted["event_id"], accepted["event_time_us"], self._event(accepted["event"]))
        return self._show(monitors, seen)

    def _take_decision(self, record: Record) -> list[Output]:
        decision = cast("Decision", self._decision(record.value, record.headers))
        if self.join.repeats(decision):
            return []
        seen = Seen(decision["event_id"], decision["event_time_us"], decision)
        outputs = self._show(self._watching["decisions"], seen)
        outcome = self.join.decide(decision, written_at_us=record.timestamp_us)
        return outputs + self._joined(outcome) if outcome else outputs

    def _take_label(self, record: Record) -> list[Output]:
        label = read_label(record, self._label)
        outcome = self.join.label(label, written_at_us=record.timestamp_us)
        return self._joined(outcome) if outcome else []

    def _joined(self, outcome: Outcome) -> list[Output]:
        seen = Seen(outcome["event_id"], outcome["event_time_us"], outcome)
        key = outcome["event_id"].encode()
        number, message = self._message(self._topics.outcomes, key, self._outcome(outcome), key)
        identity = _outcome_identity(outcome)
        said = Output(self._topics.outcomes, number, message, identity, names.OUTCOMES_TOTAL, {})
        return [said, *self._show(self._watching["outcomes"], seen)]

    def _show(self, monitors: Sequence[Monitor], seen: Seen) -> list[Output]:
        outputs = []
        for monitor in monitors:
            alert = monitor.observe(seen)
            if alert is not None:
                key, event_id = alert["monitor"].encode(), seen.event_id.encode()
                number, message = self._message(self._topics.alerts, key, self._alert(alert), event_id)
                identity, labels = _alert_identity(alert), {"kind": alert["kind"]}
                outputs.append(Output(self._topics.alerts, number, message, identity, names.ALERTS_TOTAL, labels))
        return outputs

    def _message(self, topic: str, key: bytes, value: bytes, event_id: bytes) -> tuple[int, Message]:
        # Java's partitioner, as send_keyed has it, without its wait for each single message.
        number = (murmur2(key) & 0x7FFFFFFF) % self._partitions[topic]
        return number, Message(key, value, ((EVENT_ID, event_id),))

    def _refuse(self, record: Record, reject: Reject) -> Output:
        letter = dead_letter(record, reject, stage=STAGE, group=self._group, now_us=self._clock.now_us())
        identity = _letter_identity(record.topic, str(record.partition), str(record.offset))
        labels = {"stage": STAGE, "cause": reject.cause}
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
        """Return all that monitors and join remember, as JSON can hold it."""
        return {
            "join": self.join.state(),
            "monitors": {monitor.name: [mark, monitor.state()] for mark, monitor in self._monitors},
        }

    def restore(self, state: State) -> None:
        """Go on from ``state``. A monitor that is new, or is declared otherwise than it was, begins now."""
        self.join.restore(state["join"])
        for mark, monitor in self._monitors:
            was, known = state["monitors"].get(monitor.name, (None, None))
            if mark == was:
                monitor.restore(known)
            else:
                _log.warning("monitor %s is %s: it begins now", monitor.name, "changed" if was else "new")


def _outcome_identity(outcome: Outcome) -> str:
    return f"outcome\x1f{outcome['event_id']}\x1f{outcome['revision']}"


def _alert_identity(alert: Alert) -> str:
    return f"alert\x1f{alert['alert_id']}"


def _letter_identity(topic: str, partition: str, offset: str) -> str:
    return f"letter\x1f{topic}\x1f{partition}\x1f{offset}"
