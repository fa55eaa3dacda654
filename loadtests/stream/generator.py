"""The open loop, in a process of its own: events are sent when they are due, whatever becomes of them.

``python -m loadtests.stream.generator`` reads one JSON object, encodes everything, says ``ready``, waits for a
line, and sends. It tells how far behind the plan it was: a generator that lags flatters what it measures.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from confluent_kafka import Producer

from loadtests.stream.events import Sendable, arrivals_us, encoded, labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, Message

_TICK_S = 0.002
_FLUSH_S = 30.0
_LEAD_US = 1_000_000
_LABEL_LINGER_MS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send. A ``rate_per_s`` of 0 means all of it at once; ``labels_topic`` gets the truth 2 s later.

    ``linger_ms`` is how long the producer waits for company: Kafka's own default where latency is looked at.
    """

    bootstrap: str
    topic: str
    partitions: int
    run: str
    count: int
    rate_per_s: float
    seed: int
    out: str
    labels_topic: str = ""
    label_delay_s: float = 2.0
    linger_ms: int = 5


def main() -> None:
    """Encode, wait for the word, send, tell."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    gaps_us = arrivals_us(plan.rate_per_s, plan.count, plan.seed) if plan.rate_per_s else np.zeros(plan.count, np.int64)
    due_us, label_us, events, truths = _prepared(plan, gaps_us)
    failed = [0]

    def delivered(error: KafkaError | None, _: Message) -> None:
        failed[0] += error is not None

    # Labels are another system's, and not timed.
    producer, labeller = (_producer(plan.bootstrap, linger_ms) for linger_ms in (plan.linger_ms, _LABEL_LINGER_MS))
    producer.list_topics(plan.topic, timeout=10)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    if plan.rate_per_s == 0:
        due_us[:] = time.time_ns() // 1000
    elif time.time_ns() // 1000 > due_us[0]:
        raise SystemExit("told to go after the first event was due: ask for it sooner")
    # Nothing made from here on is worth a collection, and one would be a lag of its own.
    gc.freeze()
    gc.disable()
    sent_us = send(producer, plan.topic, events, due_us, delivered, labeller, plan.labels_topic, truths, label_us)
    left = producer.flush(_FLUSH_S) + labeller.flush(_FLUSH_S)
    np.savez(Path(plan.out), due_us=due_us, sent_us=sent_us)
    lag_ms = (sent_us - due_us) / 1e3
    told = {
        "failed": failed[0] + left,
        "lag_ms": {"p50": float(np.percentile(lag_ms, 50)), "p99": float(np.percentile(lag_ms, 99))},
        "plan": asdict(plan),
    }
    sys.stdout.write(json.dumps(told) + "\n")


def _producer(bootstrap: str, linger_ms: int) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
            "batch.size": 1 << 17,
        }
    )


def _prepared(plan: Plan, gaps_us: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Sendable], list[Sendable]]:
    """Return when events and labels are due, and both encoded.

    Events carry the time at which they are due, so the start is chosen before they are encoded; where encoding
    took longer than thought, once more with more time.
    """
    for each_us in (40, 80, 200, 1000):
        start_us = time.time_ns() // 1000 + _LEAD_US + each_us * plan.count * (2 if plan.labels_topic else 1)
        due_us = start_us + gaps_us
        label_us = due_us + int(plan.label_delay_s * 1e6)
        events = encoded(plan.run, due_us, partitions=plan.partitions)
        truths = labels(plan.run, label_us, partitions=plan.partitions) if plan.labels_topic else []
        if plan.rate_per_s == 0 or time.time_ns() // 1000 + _LEAD_US // 2 < start_us:
            return due_us, label_us, events, truths
    raise SystemExit(f"{plan.count} events could not be encoded in time: this machine is too busy to measure on")


def send(
    producer: Producer,
    topic: str,
    events: list[Sendable],
    due_us: np.ndarray,
    delivered: Callable[[KafkaError | None, Message], None],
    labeller: Producer,
    labels_topic: str,
    truths: list[Sendable],
    label_us: np.ndarray,
) -> np.ndarray:
    """Send each event, and each label, once it is due; return when each event was, int64 microseconds."""
    sent_us = np.zeros(len(events), dtype=np.int64)
    due, labels_due = due_us.tolist(), label_us.tolist()
    sent = labelled = 0
    while sent < len(events) or labelled < len(truths):
        now_us = time.time_ns() // 1000
        while sent < len(events) and due[sent] <= now_us:
            partition, key, value = events[sent]
            try:
                producer.produce(topic, value, key, partition, on_delivery=delivered)
            except BufferError:
                producer.poll(0.01)
                continue
            sent_us[sent] = now_us
            sent += 1
            if not sent % 1000:
                producer.poll(0)
                now_us = time.time_ns() // 1000
        while labelled < len(truths) and labels_due[labelled] <= now_us:
            partition, key, value = truths[labelled]
            labeller.produce(labels_topic, value, key, partition)
            labelled += 1
        producer.poll(0)
        time.sleep(_TICK_S)
    return sent_us


if __name__ == "__main__":
    main()
