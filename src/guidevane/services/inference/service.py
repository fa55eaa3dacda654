"""What inference does to a batch: ask every member at once, wait no longer than the deadline, join."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Reject, Retryable
from guidevane.events import Features, MemberScore, MemberStatus, OutcomeKind, Prediction
from guidevane.log import Message, Record
from guidevane.runtime.stage import Stage
from guidevane.services.inference.members import Answer, Isolated, Members, ask_isolating
from guidevane.services.passing import EVENT_ID, reader
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.telemetry.metrics import Metrics


@dataclass(slots=True)
class Knobs:
    """What the controller may change while the room runs."""

    max_batch: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for members: to the deadline, but ``least_s`` at least; ``late_s`` where it has passed already.

    An event that comes too late is decided all the same: it counts as late, not as lost.
    """

    least_s: float = 0.1
    late_s: float = 2.0

    def wait_s(self, remaining_s: float) -> float:
        """Return how long a batch whose first deadline is ``remaining_s`` away may wait.

        >>> [Patience().wait_s(each) for each in (0.15, 0.01, -3.0)]
        [0.15, 0.1, 2.0]
        """
        return self.late_s if remaining_s <= 0 else min(max(remaining_s, self.least_s), self.late_s)


@dataclass(slots=True)
class _Said:
    """One member's part in a batch: float64[n] scores (NaN where there is none), and why."""

    scores: NDArray[np.float64]
    version: str
    status: MemberStatus
    latency_us: int
    reasons: dict[int, str]


class Inference:
    """The handler of the inference stage."""

    def __init__(
        self,
        pipeline: Pipeline,
        members: Members,
        codec: Codec,
        *,
        clock: Clock,
        metrics: Metrics,
        knobs: Knobs | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.members = members
        self.clock = clock
        self.metrics = metrics
        self.knobs = knobs or Knobs()
        self.patience = patience or Patience()
        self._identity = pipeline.vector.identity
        self._vector_bytes = pipeline.vector.width * 4
        self._read = reader(codec, "features", Features)
        self._encode = codec.encoder("prediction")

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a prediction for each record; large batches go as several micro-batches side by side."""
        fetched_s = self.clock.monotonic_s()
        features = [self._read(record) for record in records]
        results: list[Result] = [self._misfit(each) for each in features]
        fit = [i for i, result in enumerate(results) if result is None]
        size = self.knobs.max_batch
        batches = [fit[start : start + size] for start in range(0, len(fit), size)]
        answered = await asyncio.gather(
            *(self._predict([records[i] for i in b], [features[i] for i in b], fetched_s) for b in batches)
        )
        for batch, predictions in zip(batches, answered, strict=True):
            for i, prediction in zip(batch, predictions, strict=True):
                results[i] = prediction
        return results

    def _misfit(self, features: Features) -> Reject | None:
        if features["feature_set"] != self._identity or len(features["vector"]) != self._vector_bytes:
            return Reject(
                "feature_set",
                f"event {features['event_id']} was made by feature set {features['feature_set']}, "
                f"the models take {self._identity}: restart the rooms with one version of the pipeline",
            )
        return None

    async def _predict(self, records: Sequence[Record], features: Sequence[Features], fetched_s: float) -> list[Result]:
        matrix = np.frombuffer(b"".join(each["vector"] for each in features), dtype="<f4")
        matrix = matrix.reshape(len(features), -1)
        remaining_s = (min(each["deadline_us"] for each in features) - self.clock.now_us()) / 1e6
        queued_us = int((self.clock.monotonic_s() - fetched_s) * 1e6)
        said = await self._ask_all(matrix, self.patience.wait_s(remaining_s))
        scores = np.stack([each.scores for each in said])
        present = np.isfinite(scores)
        combined = self.pipeline.ensemble.join(scores, present).tolist()
        quorate = present.sum(axis=0)
        return [
            self._result(row, records[row], event, said, combined[row], int(quorate[row]), len(features), queued_us)
            for row, event in enumerate(features)
        ]

    async def _ask_all(self, matrix: NDArray[np.float32], wait_s: float) -> list[_Said]:
        """Ask every member at once; whoever has not answered after ``wait_s`` is late."""
        started_s = self.clock.monotonic_s()
        names_ = self.pipeline.ensemble.names
        ended_s: dict[str, float] = {}

        async def ask(member: str) -> Isolated:
            try:
                return await ask_isolating(self.members, member, matrix)
            finally:
                ended_s[member] = self.clock.monotonic_s()

        tasks = {member: asyncio.create_task(ask(member)) for member in names_}
        try:
            await asyncio.wait(tasks.values(), timeout=wait_s)
        finally:
            for task in tasks.values():
                task.cancel()
        rows = len(matrix)
        return [
            self._said(m, task, rows, ended_s.get(m, self.clock.monotonic_s()) - started_s) for m, task in tasks.items()
        ]

    def _said(self, member: str, task: asyncio.Task[Isolated], rows: int, took_s: float) -> _Said:
        nothing = np.full(rows, np.nan)
        took_us = int(took_s * 1e6)
        if not task.done() or task.cancelled():
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, member=member, cause="late")
            return _Said(nothing, "", "late", took_us, {})
        away = task.exception()
        if isinstance(away, Retryable):
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, member=member, cause="away")
            return _Said(nothing, "", "late", took_us, {})
        if away is not None:
            raise away
        isolated = task.result()
        answer: Answer | None = isolated.answer
        self.metrics.observe(names.MEMBER_DURATION_SECONDS, took_s, member=member)
        self.metrics.count(names.MEMBER_CALLS_TOTAL, member=member)
        if isolated.reasons:
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, len(isolated.reasons), member=member, cause="failed")
        if answer is None:
            return _Said(nothing, "", "failed", took_us, isolated.reasons)
        self.metrics.count(names.MEMBER_ROWS_TOTAL, rows, member=member, version=answer.version)
        self.metrics.count(names.MEMBER_BUSY_SECONDS_TOTAL, answer.busy_s, member=member)
        return _Said(answer.scores, answer.version, "ok", took_us, isolated.reasons)

    def _result(
        self,
        row: int,
        record: Record,
        event: Features,
        said: Sequence[_Said],
        score: float,
        voices: int,
        batch_size: int,
        queued_us: int,
    ) -> Result:
        scored = score == score  # noqa: PLR0124 - NaN is the only number that differs from itself
        members: list[MemberScore] = []
        for member, each in zip(self.pipeline.ensemble.names, said, strict=True):
            value = float(each.scores[row])
            there = value - value == 0.0
            status: MemberStatus = each.status if there or each.status != "ok" else "failed"
            members.append(
                {
                    "name": member,
                    "version": each.version,
                    "score": value if there else None,
                    "status": status,
                    "latency_us": each.latency_us,
                }
            )
        if not scored and all(member["status"] == "failed" for member in members):
            why = "; ".join(each.reasons.get(row, "a score that is not finite") for each in said)
            return Reject("model_failed", f"event {event['event_id']}: every member failed: {why}")
        outcome: OutcomeKind = "fallback" if not scored else "full" if voices == len(said) else "degraded"
        prediction: Prediction = {
            "event_id": event["event_id"],
            "event_time_us": event["event_time_us"],
            "deadline_us": event["deadline_us"],
            "score": score if scored else None,
            "outcome": outcome,
            "members": members,
            "batch_size": batch_size,
            "queued_us": queued_us,
            "protected": event["protected"],
        }
        named = (EVENT_ID, event["event_id"].encode())
        return Message(record.key, self._encode(prediction), (named,), prediction)


def inference_stage(inference: Inference, *, concurrency: int = 3) -> Stage:
    """Return the stage: features in, predictions out. Some batches are under way while others are awaited."""
    topics = inference.pipeline.topics
    return Stage(
        name="inference",
        input=topics.features,
        output=topics.predictions,
        handle=inference,
        concurrency=concurrency,
    )
