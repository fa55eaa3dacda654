"""A pipeline with every monitor, a stream in which everything changes, and what must come of it."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.unit.monitors.given import EVENT, decision, label

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.decision import Threshold
from guidevane.ensemble import Ensemble, Member
from guidevane.features import Standardise
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.monitors.concept import ConceptDrift
from guidevane.monitors.drift import Drift
from guidevane.monitors.fairness import DemographicParity
from guidevane.monitors.monitor import Seen, Source, Voice, Watched, watch
from guidevane.monitors.quality import Quality
from guidevane.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.events import Alert
    from guidevane.word import Mistake


@dataclass(frozen=True)
class EveryThird:
    """An author's own monitor, which minds the order of outcomes as nothing else does."""

    name: str = "third"

    def mistakes_against(self, pipeline: Watched) -> Iterator[Mistake]:
        yield from ()

    def watch(self, pipeline: Watched) -> list[Third]:
        return [Third(Voice(pipeline.name, self.name, "count", "outcomes"))]


class Third:
    name = "third"
    reads: Source = "outcomes"

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.seen = 0

    def observe(self, seen: Seen) -> Alert | None:
        if seen.value["revision"]:
            return None
        self.seen += 1
        return self.voice.alert(seen, "another three", {"seen": self.seen}) if self.seen % 3 == 0 else None

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


PIPELINE = Pipeline(
    name=os.environ.get("MONITORED_PIPELINE", "p"),
    event=EVENT,
    features=[Standardise("age", mean=40.0, std=10.0)],
    ensemble=Ensemble(members=[Member("wide", model="somewhere:wide")]),
    decision=Threshold(0.5),
    monitors=(
        Quality(fields=("age",), window=20),
        Drift(signal="all", delta=0.1),
        ConceptDrift(delta=0.1),
        DemographicParity(by=("sex",), window=40, min_group=5),
        EveryThird(),
    ),
)
# River takes seconds to import: in a room that is done before it joins its group, here before the first test.
watch(PIPELINE.monitors, PIPELINE)
TOPICS = PIPELINE.topics
CATALOGUE = Catalogue()
CATALOGUE.learn(EVENT)
CODEC = Codec(CATALOGUE)
GROUP = f"{PIPELINE.name}.monitors"


def accepted(event_id: str, age: float | None, sex: str) -> bytes:
    body = {"id": event_id, "age": age, "hours": 1.0, "sex": sex}
    return CODEC.encode(
        "accepted",
        {
            "event_id": event_id, "event_time_us": 1, "deadline_us": 2, "ingested_at_us": 1, "contract": EVENT.contract,
            "event": CODEC.encode(EVENT.name, body), "protected": {"sex": sex},
        },
    )  # fmt: skip


async def send(log: MemoryLog, topic: str, partition: int, value: bytes | None) -> None:
    await log.append(topic, partition, [Message(None, value)])


async def feed(log: MemoryLog, rng: random.Random, events: int) -> dict[str, float]:
    """Write a stream in which everything changes, labels shuffled, repeated and corrected; return the offline join."""
    truth: dict[str, float] = {}
    labels: list[tuple[float, bytes]] = []
    for number in range(events):
        event_id, late, sex = f"e{number}", number > events // 2, rng.choice("FM")
        where = number % log.partitions
        age = None if late and rng.random() < 0.7 else rng.gauss(40, 5)
        await send(log, TOPICS.accepted, where, accepted(event_id, age, sex))
        positive = rng.random() < (0.9 if late and sex == "M" else 0.3)
        score = rng.random() * (0.2 if late else 0.9)
        await send(
            log,
            TOPICS.decisions,
            where,
            CODEC.encode("decision", decision(event_id, positive=positive, sex=sex, score=score)),
        )
        if rng.random() < 0.05:
            await send(log, TOPICS.decisions, where, CODEC.encode("decision", decision(event_id)))
        if rng.random() < 0.8:
            wrong = rng.random() < (0.8 if late else 0.1)
            values = [float(positive != wrong)] + [rng.choice([0.0, 1.0]) for _ in range(rng.random() < 0.1)]
            truth[event_id] = values[-1]
            for at, value in enumerate(values):
                for _ in range(1 + (rng.random() < 0.1)):
                    labels.append((number + rng.uniform(0, 50), CODEC.encode("label", label(event_id, value, at))))
    for number, (_, value) in enumerate(sorted(labels)):
        await send(log, TOPICS.labels, number % log.partitions, value)
    return truth


def outcomes(log: MemoryLog) -> list[dict[str, Any]]:
    return [CODEC.decode("outcome", record.value) for record in log.records(TOPICS.outcomes)]


def alerts(log: MemoryLog) -> list[dict[str, Any]]:
    return [CODEC.decode("alert", record.value) for record in log.records(TOPICS.alerts)]


def assert_nothing_was_said_twice(log: MemoryLog) -> None:
    joined = [(each["event_id"], each["revision"]) for each in outcomes(log)]
    said = [each["alert_id"] for each in alerts(log)]
    letters = [record.header("__dlq.errors.offset") for record in log.records(TOPICS.dlq)]
    for written in (joined, said, letters):
        assert len(written) == len(set(written))


def final(log: MemoryLog) -> dict[str, float]:
    newest = sorted(outcomes(log), key=lambda each: each["revision"])
    return {each["event_id"]: each["label"] for each in newest}
