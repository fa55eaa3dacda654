"""What postprocess does to a batch: calibrate, hold against the threshold, name the decision."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from guidevane.events import Decision, Prediction, derived_id
from guidevane.log import Message, Record
from guidevane.runtime.stage import Stage
from guidevane.services.passing import EVENT_ID, reader
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.telemetry.metrics import Metrics


class Postprocess:
    """The handler of the postprocess stage. A decision holds nothing that a replay could not repeat."""

    def __init__(self, pipeline: Pipeline, codec: Codec, *, clock: Clock, metrics: Metrics) -> None:
        self.pipeline = pipeline
        self.rule = pipeline.decision
        self.clock = clock
        self.metrics = metrics
        self._read = reader(codec, "prediction", Prediction)
        self._encode = codec.encoder("decision")

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a decision for each record."""
        predictions = [self._read(record) for record in records]
        scores = np.array([np.nan if p["score"] is None else p["score"] for p in predictions], dtype=np.float64)
        probability, positive = self.rule.decide(scores)
        labels = self.rule.labels(probability)
        results: list[Result] = []
        for record, prediction, likely, yes, label in zip(
            records, predictions, probability.tolist(), positive.tolist(), labels, strict=True
        ):
            event_id = prediction["event_id"]
            score = prediction["score"]
            decision: Decision = {
                "decision_id": derived_id(self.pipeline.name, event_id),
                "event_id": event_id,
                "event_time_us": prediction["event_time_us"],
                "pipeline": self.pipeline.name,
                "score": score,
                "probability": None if score is None else likely,
                "threshold": self.rule.at,
                "decision": label,
                "positive": yes,
                "outcome": prediction["outcome"],
                "models": {m["name"]: m["version"] for m in prediction["members"] if m["status"] == "ok"},
                "protected": prediction["protected"],
            }
            results.append(Message(record.key, self._encode(decision), ((EVENT_ID, event_id.encode()),), decision))
        self._count(predictions)
        return results

    def _count(self, predictions: Sequence[Prediction]) -> None:
        # Whole groups first: there are few, however many events.
        alike = Counter((p["outcome"], tuple(p["protected"].items())) for p in predictions)
        outcomes: Counter[str] = Counter()
        groups: Counter[tuple[str, str, str]] = Counter()
        for (outcome, protected), n in alike.items():
            outcomes[outcome] += n
            for attribute, value in protected:
                groups[attribute, value, outcome] += n
        for got, n in outcomes.items():
            self.metrics.count(names.DECISIONS_TOTAL, n, outcome=got)
        for (attribute, value, got), n in groups.items():
            self.metrics.count(names.GROUP_DECISIONS_TOTAL, n, attribute=attribute, value=value, outcome=got)
        now_us = self.clock.now_us()
        if late := sum(p["deadline_us"] < now_us for p in predictions):
            self.metrics.count(names.LATE_TOTAL, late)


def postprocess_stage(postprocess: Postprocess) -> Stage:
    """Return the stage: predictions in, decisions out."""
    topics = postprocess.pipeline.topics
    return Stage(name="postprocess", input=topics.predictions, output=topics.decisions, handle=postprocess)
