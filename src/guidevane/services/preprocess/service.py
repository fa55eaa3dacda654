"""What preprocess does to a batch: events to columns, columns to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.coded import values_of
from guidevane.columns import Columns as ByColumn
from guidevane.errors import Misconfigured, Reject
from guidevane.features import columns_from, columns_of
from guidevane.pieces import sizes, texts, vectors
from guidevane.runtime.stage import Stage
from guidevane.services.passing import Drawn, Reads, Received, Writes, answers
from guidevane.services.preprocess.seen import Seen, matrix_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.codec import Codec
    from guidevane.features import Columns, Vectors
    from guidevane.log import Record
    from guidevane.pieces import Column, Parts
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Memory, Result, Trial
    from guidevane.services.preprocess.trial import Row


class Preprocess:
    """The handler of the preprocess stage: the author's features over the columns of a batch."""

    def __init__(self, pipeline: Pipeline, codec: Codec) -> None:
        self.pipeline = pipeline
        self.vector = pipeline.vector
        self._read: Reads[Received] = Reads(codec, "accepted", ("event",))
        self._decode_event = codec.decoder(pipeline.event.name, version=pipeline.event.version, trusted=True)
        event = pipeline.event
        # Windows see the whole event; what is theirs are no fields of it.
        reads = tuple(name for name in self.vector.reads if name in event.fields) or (event.key,)
        self._by_column = ByColumn(codec.catalogue.version(event.name, event.version), reads)
        self._write = Writes(codec, "features")
        (self._identity,) = texts([self.vector.identity])
        (self._size,) = sizes([bytes(4 * self.vector.width)])

    def read(self, record: Record) -> tuple[Received, dict[str, Any]]:
        """Return an accepted record's envelope, and the event's own fields."""
        (accepted,) = self._read([record])
        return accepted, self._fields(accepted)

    def _columns(self, accepted: Sequence[Received]) -> Columns:
        found = self._by_column([each["event"] for each in accepted])
        if found is not None:
            return columns_from(
                {name: each if isinstance(each, np.ndarray) else values_of(each) for name, each in found.items()}
            )
        return columns_of([self._fields(each) for each in accepted], self.vector.reads)

    def _fields(self, accepted: Received) -> dict[str, Any]:
        fields = accepted.get("fields")
        return self._decode_event(accepted["event"]) if fields is None else fields

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a vector, or the reason why there is none, for each record."""
        if self.vector.windows:
            return self._windowed(records)
        accepted = self._read(records)
        return self._vectors(records, accepted, self.vector.matrix(self._columns(accepted)))

    def row(self, record: Record) -> Row | None:
        """Return what the features of a record read, or ``None`` where none are computed for it."""
        if not self.vector.windows:
            return self.read(record)[1], None
        match record.body:
            case Seen(row=fields, windows=windows) if windows is not None:
                return fields, windows
        return None

    def _windowed(self, records: Sequence[Record]) -> list[Result]:
        """Answer records that have met the windows."""
        results: dict[int, Result] = {}
        fresh: list[tuple[Record, Seen, Mapping[str, float]]] = []
        for place, record in enumerate(records):
            match record.body:
                case Seen(windows=None, twice=True):
                    results[place] = None
                case Seen(accepted=accepted, windows=None):
                    says = f"event {accepted['event_id']} is in the windows already, and its answer is not to be found"
                    results[place] = Reject("windows_ahead", f"{says} → delete {self.pipeline.windows_topic}")
                case Seen(windows=windows) as seen if windows is not None:
                    fresh.append((record, seen, windows))
                case Exception() as broken:
                    raise broken
                case other:
                    raise Misconfigured(f"a record of {record.topic} has met no windows: {other!r:.60}")
        matrix = matrix_of(self.vector, [seen.row for _, seen, _ in fresh], [windows for _, _, windows in fresh])
        answers = iter(
            self._vectors([record for record, _, _ in fresh], [seen.accepted for _, seen, _ in fresh], matrix)
        )
        return [results[place] if place in results else next(answers) for place in range(len(records))]

    def _vectors(self, records: Sequence[Record], accepted: Sequence[Received], matrix: Vectors) -> list[Result]:
        wrong: dict[int, str] = {}
        for row, feature in self.vector.nonfinite(matrix):
            wrong.setdefault(row, feature)
        drawn = vectors(matrix)
        bodies: list[Drawn] = [
            {
                "event_id": event["event_id"],
                "event_time_us": event["event_time_us"],
                "deadline_us": event["deadline_us"],
                "feature_set": self.vector.identity,
                "vector": vector,
                "protected": event["protected"],
                "envelope": event.get("envelope"),
            }
            for event, vector in zip(accepted, drawn, strict=True)
        ]
        results: list[Result] = [*answers(records, bodies, self._written(bodies, drawn), bodies)]
        for row, feature in wrong.items():
            says = f"event {bodies[row]['event_id']}: feature '{feature}' is not finite"
            results[row] = Reject("feature_not_finite", says)
        return results

    def _written(self, bodies: Sequence[Drawn], drawn: list[bytes]) -> list[bytes]:
        def columns(named: list[bytes], due: list[bytes], protected: list[bytes]) -> Mapping[str, Column | Parts]:
            return {
                "event_id": named, "event_time_us": b"", "deadline_us": due, "feature_set": self._identity,
                "vector": (self._size, drawn), "protected": protected,
            }  # fmt: skip

        return self._write(bodies, columns, lambda: bodies)


def preprocess_stage(preprocess: Preprocess, trial: Trial | None = None) -> Stage:
    """Return the stage: accepted in, features out. Only a pipeline with windows has a memory, and loads Faust."""
    topics = preprocess.pipeline.topics
    return Stage(
        name="preprocess", input=topics.accepted, output=topics.features, handle=preprocess,
        memory=_memory(preprocess), trial=trial,
    )  # fmt: skip


def _memory(preprocess: Preprocess) -> Memory | None:
    if not preprocess.vector.windows:
        return None
    try:
        from guidevane.services.preprocess.windows import WindowTable  # noqa: PLC0415 - nobody else pays for it
    except ImportError as missing:
        raise Misconfigured(f"windows need Faust ({missing}) → pip install 'guidevane[windows]'") from missing
    return WindowTable(preprocess.pipeline, preprocess.read)
