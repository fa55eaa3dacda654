"""What inference does to a batch: ask every member at once, wait no longer than the deadline, join."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Reject
from guidevane.events import Features, MemberScore, MemberStatus, OutcomeKind, Prediction
from guidevane.log import Message, Record
from guidevane.runtime.stage import Stage
from guidevane.services.inference.guard import Guard, Heard
from guidevane.services.passing import EVENT_ID, reader
from guidevane.telemetry import names
from guidevane.telemetry.service import served

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.services.inference.members import Blame, Judge, Members
    from guidevane.telemetry.metrics import Metrics


@dataclass(slots=True)
class Knobs:
    """What the controller may change while the room runs."""

    max_batch: int = 256


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
    """One member's part in a batch: float64[n] scores (NaN where there is none), and why.

    ``to_blame`` says that the rows in ``reasons`` broke it, and not that it is broken anyway.
    """

    scores: NDArray[np.float64]
    version: str
    status: MemberStatus
    latency_us: int
    reasons: Mapping[int, Blame]
    to_blame: bool


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
        judge: Judge | None = None,
    ) -> None:
        self.pipeline = pipeline
        stuck_s = {member.name: member.stuck_after_s for member in pipeline.ensemble.members}
        self.guard = Guard(members, stuck_s, clock=clock, judge=judge)
        self.clock = clock
        self.metrics = metrics
        self.knobs = knobs or Knobs()
        self.patience = patience or Patience()
        self._in_flight = dict.fromkeys(pipeline.ensemble.names, 0)
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
        return await asyncio.gather(*(self._ask(member, matrix, wait_s) for member in self.pipeline.ensemble.names))

    async def _ask(self, member: str, matrix: NDArray[np.float32], wait_s: float) -> _Said:
        started_s = self.clock.monotonic_s()
        self._on_the_way(member, len(matrix))
        try:
            heard = await self.guard.ask(member, matrix, wait_s)
        finally:
            self._on_the_way(member, -len(matrix))
        return self._said(member, heard, len(matrix), self.clock.monotonic_s() - started_s)

    def _on_the_way(self, member: str, rows: int) -> None:
        self._in_flight[member] += rows
        self.metrics.gauge(names.MEMBER_IN_FLIGHT_ROWS, self._in_flight[member], member=member)

    def _said(self, member: str, heard: Heard, rows: int, took_s: float) -> _Said:
        took_us = int(took_s * 1e6)
        answer, reasons, missing = heard.answer, heard.reasons, heard.missing
        if reasons:
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, len(reasons), member=member, cause="failed")
        if missing not in {None, "broken"}:
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, member=member, cause=str(missing))
            if answer is None:
                return _Said(np.full(rows, np.nan), "", "late", took_us, reasons, to_blame=True)
        self.metrics.observe(names.MEMBER_DURATION_SECONDS, took_s, member=member)
        self.metrics.count(names.MEMBER_CALLS_TOTAL, member=member)
        to_blame = missing != "broken"
        if answer is None:
            return _Said(np.full(rows, np.nan), "", "failed", took_us, reasons, to_blame)
        self.metrics.count(names.MEMBER_ROWS_TOTAL, rows, member=member, version=answer.version)
        self.metrics.count(names.MEMBER_BUSY_SECONDS_TOTAL, answer.busy_s, member=member)
        self.metrics.observe(names.HOP_DURATION_SECONDS, took_s - answer.busy_s, station=member)
        served(self.metrics, member, rows, answer.busy_s)
        return _Said(answer.scores, answer.version, "ok", took_us, reasons, to_blame)

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
        if any(each.reasons for each in said) and (poison := self._poison(row, event, said)) is not None:
            return poison
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

    def _poison(self, row: int, event: Features, said: Sequence[_Said]) -> Reject | None:
        """Return why no decision may rest on this row: it breaks a member that is well, or it breaks them all."""
        blamed = [(each.reasons[row], each.to_blame) for each in said if row in each.reasons]
        guilty = [why for why, to_blame in blamed if to_blame]
        if not blamed or (len(blamed) < len(said) and (self.pipeline.ensemble.poison == "degrade" or not guilty)):
            return None
        # What ends or hangs a member is worse than what it refuses, and names the letter.
        worst = min(guilty or [why for why, _ in blamed], key=lambda why: why.cause == "model_failed")
        causes = "; ".join(why.says for why, _ in blamed)
        return Reject(worst.cause, f"event {event['event_id']}: {causes}")


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
