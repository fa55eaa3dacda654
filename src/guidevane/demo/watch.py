"""Reading along: outcomes into the ledger, everything else for the screen and the report."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.errors import GuidevaneError, Retryable
from guidevane.log import Fetch
from guidevane.telemetry import names
from guidevane.telemetry.histogram import BUCKETS, quantile
from guidevane.telemetry.metrics import Series
from guidevane.topics import AUDIT, CONTROL, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.ledger import Ledger
    from guidevane.log import Log, Record
    from guidevane.pipeline import Pipeline

_FETCH = Fetch(wait_s=0.1, max_records=5000)


@dataclass(slots=True)
class Watch:
    """What is going on, as the topics tell it."""

    pipeline: Pipeline
    log: Log
    codec: Codec
    clock: Clock
    ledger: Ledger
    buckets: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    recent: dict[str, deque[NDArray[np.int64]]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)
    settings: dict[str, dict[str, float]] = field(default_factory=dict)
    actions: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=200))
    action_counts: dict[str, int] = field(default_factory=dict)
    alerts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=200))
    alert_counts: dict[str, int] = field(default_factory=dict)
    outcomes_joined: int = 0
    forecast: tuple[float, float] | None = None
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    first_decision: asyncio.Event = field(default_factory=asyncio.Event)
    decided_us: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=20_000))

    async def run(self, stop: asyncio.Event) -> None:
        """Read until told to stop; every topic from where it stands when ``reading`` is set."""
        topics = self.pipeline.topics
        takes: dict[str, Callable[[Record], None]] = {
            topics.decisions: self._decision,
            topics.dlq: self._dead_letter,
            topics.alerts: self._alert,
            topics.outcomes: self._outcome,
            TELEMETRY: self._telemetry,
            CONTROL: self._control,
            AUDIT: self._audit,
        }
        reader = self.log.reader(list(takes), from_start=False, fetch=_FETCH)
        try:
            await reader.start()
            self.reading.set()
            while not stop.is_set():
                try:
                    found = await reader.fetch(timeout_s=0.25)
                except Retryable:
                    # A broker that restarts: the reader finds it again.
                    await asyncio.sleep(0.5)
                    continue
                for partition, records in found.items():
                    take = takes[partition.topic]
                    for record in records:
                        take(record)
        finally:
            with suppress(GuidevaneError):
                await reader.close()

    def _decision(self, record: Record) -> None:
        event_id = (record.header("event_id") or b"").decode()
        decision = self.codec.decode("decision", record.value, record.headers, trusted=True)
        self.ledger.decided(
            event_id,
            record.value or b"",
            at_us=record.timestamp_us,
            positive=decision["positive"],
            outcome=decision["outcome"],
        )
        self.first_decision.set()
        entry = self.ledger.entries.get(event_id)
        if entry is not None:
            self.decided_us.append((record.timestamp_us, (record.timestamp_us - entry.due_us) / 1e3))

    def _dead_letter(self, record: Record) -> None:
        self.ledger.died((record.header("event_id") or b"").decode())

    def _alert(self, record: Record) -> None:
        alert = self.codec.decode("alert", record.value, record.headers, trusted=True)
        self.alerts.append(alert)
        self.alert_counts[alert["kind"]] = self.alert_counts.get(alert["kind"], 0) + 1

    def _outcome(self, _: Record) -> None:
        self.outcomes_joined += 1

    def _telemetry(self, record: Record) -> None:
        said = self.codec.decode("telemetry", record.value, record.headers, trusted=True)
        if said["pipeline"] != self.pipeline.name:
            return
        for key, value in said["counters"].items():
            series = Series.of(key)
            labels = dict(series.labels)
            if series.name == names.EVENTS_TOTAL and labels.get("result") == "out":
                self.rates[labels["stage"]] = value / max(said["interval_s"], 1e-3)
        for key, value in said["gauges"].items():
            series = Series.of(key)
            if series.name == names.REPLICAS:
                self.replicas[dict(series.labels)["member"]] = int(value)
        rates = [said["gauges"].get(name) for name in (names.ARRIVALS_PER_SECOND, names.READY_FOR_PER_SECOND)]
        if rates[0] is not None and rates[1] is not None:
            self.forecast = rates[0], rates[1]
        for key, histogram in said["histograms"].items():
            series = Series.of(key)
            if series.name == names.STAGE_DURATION_SECONDS:
                stage = dict(series.labels)["stage"]
                counts = np.array(histogram["buckets"], dtype=np.int64)
                self.buckets[stage] = self.buckets.get(stage, np.zeros(BUCKETS, np.int64)) + counts
                self.recent.setdefault(stage, deque(maxlen=10)).append(counts)

    def _control(self, record: Record) -> None:
        said = self.codec.decode("control", record.value, record.headers, trusted=True)
        if said["pipeline"] == self.pipeline.name:
            self.settings[said["room"]] = said["settings"]

    def _audit(self, record: Record) -> None:
        row = self.codec.decode("audit", record.value, record.headers, trusted=True)
        self.actions.append(row)
        self.action_counts[row["action"]] = self.action_counts.get(row["action"], 0) + 1

    def stage_ms(self, stage: str, *, recent: bool = False) -> dict[str, float | None]:
        """Return p50 and p99 of a stage, in milliseconds, over the run or over the last ten seconds."""
        counts = self.buckets.get(stage)
        if recent and stage in self.recent:
            counts = np.sum(list(self.recent[stage]), axis=0)
        if counts is None:
            return {"p50": None, "p99": None}
        return {name: _ms(quantile(counts, p)) for name, p in (("p50", 0.5), ("p99", 0.99))}

    def live_ms(self, over_s: float = 5.0) -> NDArray[np.float64]:
        """Return the end-to-end latencies of the last seconds."""
        since = self.clock.now_us() - over_s * 1e6
        return np.array([ms for _, ms in itertools.takewhile(lambda seen: seen[0] >= since, reversed(self.decided_us))])


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)
