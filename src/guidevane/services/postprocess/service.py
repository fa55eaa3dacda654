"""What postprocess does to a batch: calibrate, hold against the threshold, name the decision."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from guidevane.events import Decision, derived_id
from guidevane.pieces import BOOLEAN, SOME, doubles, few, maps, optional, texts
from guidevane.runtime.stage import Stage
from guidevane.services.passing import OUTCOMES, Reads, Writes, answers
from guidevane.services.postprocess.voices import READ, TOLD, Voices, models_of
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.decision import Scores
    from guidevane.log import Record
    from guidevane.pieces import Column, Parts
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.services.passing import Predicted
    from guidevane.telemetry.metrics import Metrics


class Postprocess:
    """The handler of the postprocess stage. A decision holds nothing that a replay could not repeat."""

    def __init__(self, pipeline: Pipeline, codec: Codec, *, clock: Clock, metrics: Metrics) -> None:
        self.pipeline = pipeline
        self.rule = pipeline.decision
        self.clock = clock
        self.metrics = metrics
        self._read: Reads[Predicted] = Reads(codec, "prediction", READ, Voices, TOLD)
        self._write = Writes(codec, "decision")
        (self._pipeline,) = texts([pipeline.name])
        self._threshold = SOME + doubles(np.array([self.rule.at]))[0]

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a decision for each record."""
        predictions = self._read(records)
        scores = np.array([np.nan if p["score"] is None else p["score"] for p in predictions], dtype=np.float64)
        values = self._written(predictions, scores)
        self._count(predictions)
        # Nobody behind us reads what is decoded: the engine asks it when its event happened, as a prediction says, too.
        return [*answers(records, predictions, values, predictions)]

    def _written(self, predictions: Sequence[Predicted], scores: Scores) -> list[bytes]:
        name, at = self.pipeline.name, self.rule.at
        probability, positive = self.rule.decide(scores)
        labels, yes = self.rule.labels(probability), positive.tolist()
        models = [_models(prediction) for prediction in predictions]
        ids = [derived_id(name, prediction["event_id"]) for prediction in predictions]

        def columns(named: list[bytes], _: list[bytes], protected: list[bytes]) -> Mapping[str, Column | Parts]:
            said = [each["score"] is not None for each in predictions]
            return {
                "decision_id": texts(ids),
                "event_id": named,
                "event_time_us": b"",
                "pipeline": self._pipeline,
                "score": optional(said, doubles(scores)),
                "probability": optional(said, doubles(probability)),
                "threshold": self._threshold,
                "decision": few(labels),
                "positive": [BOOLEAN[each] for each in yes],
                "outcome": [OUTCOMES[each["outcome"]] for each in predictions],
                "models": maps(models),
                "protected": protected,
            }

        def bodies() -> list[Decision]:
            return [
                {
                    "decision_id": decision_id,
                    "event_id": prediction["event_id"],
                    "event_time_us": prediction["event_time_us"],
                    "pipeline": name,
                    "score": prediction["score"],
                    "probability": None if prediction["score"] is None else likely,
                    "threshold": at,
                    "decision": label,
                    "positive": is_positive,
                    "outcome": prediction["outcome"],
                    "models": versions,
                    "protected": prediction["protected"],
                }
                for prediction, decision_id, versions, likely, is_positive, label in zip(
                    predictions, ids, models, probability.tolist(), yes, labels, strict=True
                )
            ]

        return self._write(predictions, columns, bodies)

    def _count(self, predictions: Sequence[Predicted]) -> None:
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


def _models(prediction: Predicted) -> dict[str, str]:
    """Return the versions of the members that answered, by name."""
    return models_of(prediction["members"]) if "members" in prediction else prediction["models"]


def postprocess_stage(postprocess: Postprocess) -> Stage:
    """Return the stage: predictions in, decisions out."""
    topics = postprocess.pipeline.topics
    return Stage(name="postprocess", input=topics.predictions, output=topics.decisions, handle=postprocess)
