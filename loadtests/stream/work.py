"""The work, as one process does it without a platform: Avro events in, Avro decisions out.

Every contender but our own rooms calls this: the same features, members, combination, calibration and threshold,
by the same objects, so that what is compared is what stands around them. Members are called with the whole batch,
as one would call them; our rooms call them in tiles, which makes scores independent of batches and costs more.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from fastavro import schemaless_reader, schemaless_writer

from guidevane.catalogue import Catalogue
from guidevane.events import derived_id
from guidevane.features import columns_of
from guidevane.pipelines.employment import pipeline
from guidevane.registry import Registry, Tiled, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from guidevane.schema import Schema

FRAME_BYTES = 5


class Decided(NamedTuple):
    """One event's answer: its id, and the decision as it goes on the wire."""

    event_id: str
    value: bytes


def encoder(schema: Schema) -> Callable[[Mapping[str, Any]], bytes]:
    """Return what writes bodies in one contract: framed, by fastavro."""
    frame, parsed = struct.pack(">BI", 0, schema.id), schema.parsed

    def encode(body: Mapping[str, Any]) -> bytes:
        out = BytesIO()
        out.write(frame)
        schemaless_writer(out, parsed, body)
        return out.getvalue()

    return encode


class Work:
    """Decides batches of events. Load it once: the models take seconds."""

    def __init__(self, *, tiled: bool = False) -> None:
        catalogue = Catalogue([pipeline.event])
        self._event: Any = catalogue.version(pipeline.event.name, pipeline.event.version).parsed
        self._encode = encoder(catalogue.latest("decision"))
        assert pipeline.models is not None  # noqa: S101 - narrows the type: the example brings its models
        registry = Registry(pipeline.models)
        self._members = []
        self.versions: dict[str, str] = {}
        for member in pipeline.ensemble.members:
            predictor = load(registry.resolve(member.model), device="cpu")
            self.versions[member.name] = predictor.version
            called = Tiled(predictor, member.tile) if tiled else predictor
            self._members.append((pipeline.vector.places(member.inputs), called))
        self.decide(self.warm_up_events())

    def __call__(self, values: Sequence[bytes]) -> list[Decided]:
        """Return one decision an event, in order."""
        return self.decide([self.read(value) for value in values])

    def read(self, value: bytes) -> dict[str, Any]:
        """Return the event in a framed value."""
        event: Any = schemaless_reader(BytesIO(value[FRAME_BYTES:]), self._event, None)
        return dict(event)

    def matrix(self, events: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
        """Return the feature vectors, float32[n, width]."""
        return pipeline.vector.matrix(columns_of(events, pipeline.vector.reads))

    def scores(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the ensemble says, float64[n]."""
        return self.joined(self.said(matrix))

    def said(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what each member says, float64[members, n], in the order of ``versions``."""
        return np.stack([member.predict(np.ascontiguousarray(matrix[:, places])) for places, member in self._members])

    def joined(self, said: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the ensemble makes of what its members said, float64[n]."""
        return pipeline.ensemble.join(said, np.isfinite(said))

    def decide(self, events: Sequence[dict[str, Any]]) -> list[Decided]:
        """Return one decision an event, in order."""
        return self.answer(events, self.scores(self.matrix(events)))

    def answer(self, events: Sequence[dict[str, Any]], scores: NDArray[np.float64]) -> list[Decided]:
        """Return the decisions that follow from scores."""
        probability, positive = pipeline.decision.decide(scores)
        labels = pipeline.decision.labels(probability)
        decided, encode = [], self._encode
        for event, score, p, label, yes in zip(
            events, scores.tolist(), probability.tolist(), labels, positive.tolist(), strict=True
        ):
            body = {
                "decision_id": derived_id(pipeline.name, event["event_id"]),
                "event_id": event["event_id"],
                "event_time_us": event["observed_at_us"],
                "pipeline": pipeline.name,
                "score": score,
                "probability": p,
                "threshold": pipeline.decision.at,
                "decision": label,
                "positive": yes,
                "outcome": "full",
                "models": self.versions,
                "protected": {name: str(event[name]) for name in pipeline.event.protected},
            }
            decided.append(Decided(event["event_id"], encode(body)))
        return decided

    def warm_up_events(self) -> list[dict[str, Any]]:
        """Return some events that nobody sent."""
        from guidevane.pipelines.employment.data import load as records  # noqa: PLC0415 - only once

        return [records().event(i, event_id=f"warm-{i}", observed_at_us=0) for i in range(256)]
