"""What preprocess does to a batch: events to columns, columns to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guidevane.errors import Reject
from guidevane.events import Accepted, Features
from guidevane.features import columns_of
from guidevane.log import Message, Record
from guidevane.runtime.stage import Stage
from guidevane.services.passing import EVENT_ID, reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.codec import Codec
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result


class Preprocess:
    """The handler of the preprocess stage: the author's features over the columns of a batch."""

    def __init__(self, pipeline: Pipeline, codec: Codec) -> None:
        self.pipeline = pipeline
        self.vector = pipeline.vector
        self._read = reader(codec, "accepted", Accepted)
        self._decode_event = codec.decoder(pipeline.event.name, version=pipeline.event.version, trusted=True)
        self._encode = codec.encoder("features")

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a vector, or the reason why there is none, for each record."""
        accepted = [self._read(record) for record in records]
        rows: list[dict[str, Any]] = [self._decode_event(each["event"]) for each in accepted]
        matrix = self.vector.matrix(columns_of(rows, self.vector.reads))
        wrong: dict[int, str] = {}
        for row, feature in self.vector.nonfinite(matrix):
            wrong.setdefault(row, feature)
        vectors = matrix.astype("<f4", copy=False)
        results: list[Result] = []
        for row, (record, event) in enumerate(zip(records, accepted, strict=True)):
            if row in wrong:
                says = f"event {event['event_id']}: feature '{wrong[row]}' is not finite"
                results.append(Reject("feature_not_finite", says))
                continue
            features: Features = {
                "event_id": event["event_id"],
                "event_time_us": event["event_time_us"],
                "deadline_us": event["deadline_us"],
                "feature_set": self.vector.identity,
                "vector": vectors[row].tobytes(),
                "protected": event["protected"],
            }
            named = (EVENT_ID, event["event_id"].encode())
            results.append(Message(record.key, self._encode(features), (named,), features))
        return results


def preprocess_stage(preprocess: Preprocess) -> Stage:
    """Return the stage: accepted in, features out."""
    topics = preprocess.pipeline.topics
    return Stage(name="preprocess", input=topics.accepted, output=topics.features, handle=preprocess)
