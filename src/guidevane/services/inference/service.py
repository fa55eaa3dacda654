"""What inference does to a batch: ask every member at once, wait no longer than the deadline, join."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Reject
from guidevane.events import Features, MemberScore, MemberStatus, OutcomeKind, Prediction
from guidevane.log import Message, Record
from guidevane.runtime.stage import Stage
from guidevane.services.inference.dispatch import Dispatch
from guidevane.services.inference.expecting import Expecting
from guidevane.services.inference.guard import Guard, Heard
from guidevane.services.inference.triage import Knobs, Triage, Waiting
from guidevane.services.passing import EVENT_ID, reader
from guidevane.telemetry import names
from guidevane.telemetry.service import served

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.control.ladder import Choice
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.services.inference.expecting import Call
    from guidevane.services.inference.members import Blame, Judge, Members
    from guidevane.telemetry.metrics import Metrics


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


@dataclass(slots=True, eq=False)
class _Row(Waiting):
    """One event on its way to the members: as it came, as it was read, and when it was fetched."""

    record: Record
    event: Features
    fetched_s: float


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
    busy_s: float = 0.0


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
        deployed = pipeline.ensemble.deployed
        stuck_s = {member.name: member.stuck_after_s for member in deployed}
        self.guard = Guard(members, stuck_s, clock=clock, judge=judge)
        self.clock = clock
        self.metrics = metrics
        self.knobs = knobs or Knobs(level=pipeline.degrade.level)
        self.patience = patience or Patience()
        self.expecting = Expecting(pipeline.ensemble)
        self.dispatch: Dispatch[_Row, Result] = Dispatch(self, Triage(pipeline, self.expecting, self.knobs), clock)
        self._in_flight = dict.fromkeys(stuck_s, 0)
        self._identity = pipeline.vector.identity
        self._vector_bytes = pipeline.vector.width * 4
        self._read = reader(codec, "features", Features)
        self._encode = codec.encoder("prediction")

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a prediction for each record; large batches go as several micro-batches side by side."""
        fetched_s = self.clock.monotonic_s()
        results: list[Result] = []
        rows: list[_Row] = []
        for record in records:
            event = self._read(record)
            misfit = self._misfit(event)
            results.append(misfit)
            if misfit is None:
                rows.append(_Row(event["deadline_us"], event["protected"], False, False, record, event, fetched_s))
        answers = iter(await self.dispatch.answer(rows))
        return [next(answers) if result is None else result for result in results]

    def _misfit(self, features: Features) -> Reject | None:
        if features["feature_set"] != self._identity or len(features["vector"]) != self._vector_bytes:
            return Reject(
                "feature_set",
                f"event {features['event_id']} was made by feature set {features['feature_set']}, "
                f"the models take {self._identity}: restart the rooms with one version of the pipeline",
            )
        return None

    async def asked(self, items: Sequence[_Row], choice: Choice, call: Call) -> list[Result]:
        """Ask those whom the choice names; return a prediction for each row."""
        if self.knobs.level:
            self._count_spared(items)
        features = [row.event for row in items]
        matrix = np.frombuffer(b"".join(each["vector"] for each in features), dtype="<f4")
        matrix = matrix.reshape(len(features), -1)
        now_us = self.clock.now_us()
        due_us = [row.deadline_us for row in items]
        if self.knobs.level:
            # Where what waits is sorted by its time, who is late already must not make the others so.
            due_us = [each for each in due_us if each > now_us] or due_us
        wait_s = self.patience.late_s if items[0].spared else self.patience.wait_s((min(due_us) - now_us) / 1e6)
        sent_s = self.clock.monotonic_s()
        names_ = choice.members or self.pipeline.ensemble.names
        said = await self._ask_all(names_, matrix, wait_s, call)
        if choice.rung == "variant":
            combined = said[names_[0]].scores.tolist()
            voices = [0] * len(items)
        else:
            everybody = [said[name] for name in self.pipeline.ensemble.names]
            scores = np.stack([each.scores for each in everybody])
            present = np.isfinite(scores)
            combined = self.pipeline.ensemble.join(scores, present).tolist()
            voices = present.sum(axis=0).tolist()
        return [
            self._result(place, row, said, combined[place], voices[place], len(items), sent_s)
            for place, row in enumerate(items)
        ]

    def unasked(self, item: _Row, choice: Choice) -> Result:
        """Return the prediction of an event that goes without: nobody is asked, and the decision's label stands."""
        nobody = _skipped(1)
        said = dict.fromkeys(self.pipeline.ensemble.names, nobody)
        outcome: OutcomeKind = "shed" if choice.rung == "shed" else "fallback"
        return self._message(item, None, outcome, self._members(0, said), 0, self.clock.monotonic_s())

    def _count_spared(self, items: Sequence[_Row]) -> None:
        groups = Counter(group for row in items if row.spared for group in row.protected.items())
        for (attribute, value), n in groups.items():
            self.metrics.count(names.SPARED_TOTAL, n, attribute=attribute, value=value)

    async def _ask_all(
        self, names_: Sequence[str], matrix: NDArray[np.float32], wait_s: float, call: Call
    ) -> dict[str, _Said]:
        """Ask these at once; whoever has not answered after ``wait_s`` is late, and the others are skipped."""
        found = await asyncio.gather(*(self._ask(name, matrix, wait_s) for name in names_))
        said = dict(zip(names_, found, strict=True))
        took = {name: (each.latency_us / 1e6, each.busy_s) if each.busy_s else None for name, each in said.items()}
        self.expecting.learn(call, len(matrix), took, self.clock.monotonic_s())
        everybody = self.pipeline.ensemble.names
        return said if names_ == everybody else dict.fromkeys(everybody, _skipped(len(matrix))) | said

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
        return _Said(answer.scores, answer.version, "ok", took_us, reasons, to_blame, answer.busy_s)

    def _result(
        self,
        place: int,
        row: _Row,
        said: Mapping[str, _Said],
        score: float,
        voices: int,
        batch_size: int,
        sent_s: float,
    ) -> Result:
        if any(each.reasons for each in said.values()) and (poison := self._poison(place, row.event, said)) is not None:
            return poison
        scored = score == score  # noqa: PLR0124 - NaN is the only number that differs from itself
        full = voices == len(self.pipeline.ensemble.names)
        outcome: OutcomeKind = "fallback" if not scored else "full" if full else "degraded"
        members = self._members(place, said)
        return self._message(row, score if scored else None, outcome, members, batch_size, sent_s)

    @staticmethod
    def _members(place: int, said: Mapping[str, _Said]) -> list[MemberScore]:
        members: list[MemberScore] = []
        for name, each in said.items():
            value = float(each.scores[place])
            there = value - value == 0.0
            status: MemberStatus = each.status if there or each.status != "ok" else "failed"
            members.append(
                {
                    "name": name,
                    "version": each.version,
                    "score": value if there else None,
                    "status": status,
                    "latency_us": each.latency_us,
                }
            )
        return members

    def _message(
        self,
        row: _Row,
        score: float | None,
        outcome: OutcomeKind,
        members: list[MemberScore],
        batch_size: int,
        sent_s: float,
    ) -> Message:
        event = row.event
        prediction: Prediction = {
            "event_id": event["event_id"],
            "event_time_us": event["event_time_us"],
            "deadline_us": event["deadline_us"],
            "score": score,
            "outcome": outcome,
            "members": members,
            "batch_size": batch_size,
            "queued_us": int((sent_s - row.fetched_s) * 1e6),
            "protected": event["protected"],
        }
        named = (EVENT_ID, event["event_id"].encode())
        return Message(row.record.key, self._encode(prediction), (named,), prediction)

    def _poison(self, row: int, event: Features, said: Mapping[str, _Said]) -> Reject | None:
        """Return why no decision may rest on this row: it breaks a member that is well, or all that were asked."""
        asked = [each for each in said.values() if each.status != "skipped"]
        blamed = [(each.reasons[row], each.to_blame) for each in asked if row in each.reasons]
        guilty = [why for why, to_blame in blamed if to_blame]
        if not blamed or (len(blamed) < len(asked) and (self.pipeline.ensemble.poison == "degrade" or not guilty)):
            return None
        # What ends or hangs a member is worse than what it refuses, and names the letter.
        worst = min(guilty or [why for why, _ in blamed], key=lambda why: why.cause == "model_failed")
        causes = "; ".join(why.says for why, _ in blamed)
        return Reject(worst.cause, f"event {event['event_id']}: {causes}")


def _skipped(rows: int) -> _Said:
    return _Said(np.full(rows, np.nan), "", "skipped", 0, {}, to_blame=False)


def inference_stage(inference: Inference, *, concurrency: int = 1024) -> Stage:
    """Return the stage: features in, predictions out.

    So many flights may wait for their members that what waits is seen whole; flights may bring one event each. How
    many batches are under way at once is the dispatch's to say, how many records are in flight the worker's.
    """
    topics = inference.pipeline.topics
    return Stage(
        name="inference",
        input=topics.features,
        output=topics.predictions,
        handle=inference,
        concurrency=concurrency,
    )
