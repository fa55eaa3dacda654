"""What inference does to a batch: ask every member at once, wait no longer than the deadline, join."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Reject
from guidevane.runtime.stage import Stage
from guidevane.services.inference.dispatch import Dispatch
from guidevane.services.inference.expecting import Expecting, Took
from guidevane.services.inference.guard import Guard, Heard
from guidevane.services.inference.predicting import Predicting, Row, Said, skipped
from guidevane.services.inference.triage import Knobs, Triage
from guidevane.services.passing import Drawn, Reads
from guidevane.telemetry import names
from guidevane.telemetry.service import served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.control.ladder import Choice
    from guidevane.events import Features, OutcomeKind
    from guidevane.log import Record
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Result
    from guidevane.services.inference.expecting import Call
    from guidevane.services.inference.members import Judge, Members
    from guidevane.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for members: as long as an answer is in time, but ``least_s``; ``late_s`` where none can be.

    An event that comes too late is decided all the same: it counts as late, not as lost.
    """

    least_s: float = 0.1
    late_s: float = 2.0

    def wait_s(self, remaining_s: float, behind_s: float = 0.0) -> float:
        """Return how long a batch whose first deadline is ``remaining_s`` away may wait.

        ``behind_s`` is what an answer takes from here.

        >>> [Patience().wait_s(each, 0.04) for each in (0.25, 0.01, -3.0)]
        [0.21, 0.1, 2.0]
        """
        return self.late_s if remaining_s <= 0 else min(max(remaining_s - behind_s, self.least_s), self.late_s)


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
        rooms_behind: int = 0,
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
        self._triage = Triage(pipeline, self.expecting, self.knobs, rooms_behind=rooms_behind)
        self.behind = self._triage.behind
        self.dispatch: Dispatch[Row, Result] = Dispatch(self, self._triage, clock)
        self._in_flight = dict.fromkeys(stuck_s, 0)
        self._identity = pipeline.vector.identity
        self._vector_bytes = pipeline.vector.width * 4
        self._read: Reads[Drawn] = Reads(codec, "features", ("feature_set", "vector"))
        self._predicting = Predicting(pipeline.ensemble, codec)

    async def __call__(self, records: Sequence[Record]) -> list[Result]:
        """Return a prediction for each record; large batches go as several micro-batches side by side."""
        fetched_s = self.clock.monotonic_s()
        results: list[Result] = []
        rows: list[Row] = []
        for record, event in zip(records, self._read(records), strict=True):
            misfit = self._misfit(event)
            results.append(misfit)
            if misfit is None:
                rows.append(Row(event["deadline_us"], event["protected"], False, False, record, event, fetched_s))
        answers = iter(await self.dispatch.answer(rows))
        return [next(answers) if result is None else result for result in results]

    def pressed(self) -> bool:
        """Tell whether events go without members just now, because these have too much to do."""
        return self._triage.pressed(self.clock.monotonic_s())

    def _misfit(self, features: Features) -> Reject | None:
        if features["feature_set"] != self._identity or len(features["vector"]) != self._vector_bytes:
            return Reject(
                "feature_set",
                f"event {features['event_id']} was made by feature set {features['feature_set']}, "
                f"the models take {self._identity}: restart the rooms with one version of the pipeline",
            )
        return None

    async def asked(self, items: Sequence[Row], choice: Choice, call: Call) -> list[Result]:
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
        left_s = (min(due_us) - now_us) / 1e6
        wait_s = self.patience.late_s if items[0].spared else self.patience.wait_s(left_s, self.behind.s)
        sent_s = self.clock.monotonic_s()
        names_ = choice.members or self.pipeline.ensemble.names
        said = await self._ask_all(names_, matrix, wait_s, call)
        variant = names_[0] if choice.rung == "variant" else None
        return self._predicting.batch(items, said, variant=variant, sent_s=sent_s)

    def unasked(self, items: Sequence[Row], choice: Choice) -> list[Result]:
        """Return the predictions of events that go without: nobody is asked, and the decision's label stands."""
        outcome: OutcomeKind = "shed" if choice.rung == "shed" else "fallback"
        return self._predicting.without(items, outcome, self.clock.monotonic_s())

    def _count_spared(self, items: Sequence[Row]) -> None:
        groups = Counter(group for row in items if row.spared for group in row.protected.items())
        for (attribute, value), n in groups.items():
            self.metrics.count(names.SPARED_TOTAL, n, attribute=attribute, value=value)

    async def _ask_all(
        self, names_: Sequence[str], matrix: NDArray[np.float32], wait_s: float, call: Call
    ) -> dict[str, Said]:
        """Ask these at once; whoever has not answered after ``wait_s`` is late, and the others are skipped."""
        found = await asyncio.gather(*(self._ask(name, matrix, wait_s, call) for name in names_))
        said = dict(zip(names_, found, strict=True))
        took = {
            name: Took(each.latency_us / 1e6, each.busy_s, each.computed) if each.busy_s else None
            for name, each in said.items()
        }
        self.expecting.learn(call, took, self.clock.monotonic_s())
        everybody = self.pipeline.ensemble.names
        return said if names_ == everybody else dict.fromkeys(everybody, skipped(len(matrix))) | said

    async def _ask(self, member: str, matrix: NDArray[np.float32], wait_s: float, call: Call) -> Said:
        started_s = self.clock.monotonic_s()
        self._on_the_way(member, len(matrix))
        try:
            heard = await self.guard.ask(member, matrix, wait_s)
        finally:
            self._on_the_way(member, -len(matrix))
            self.expecting.heard(call, member, self.clock.monotonic_s())
        return self._said(member, heard, len(matrix), self.clock.monotonic_s() - started_s)

    def _on_the_way(self, member: str, rows: int) -> None:
        self._in_flight[member] += rows
        self.metrics.gauge(names.MEMBER_IN_FLIGHT_ROWS, self._in_flight[member], member=member)

    def _said(self, member: str, heard: Heard, rows: int, took_s: float) -> Said:
        took_us = int(took_s * 1e6)
        answer, reasons, missing = heard.answer, heard.reasons, heard.missing
        if reasons:
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, len(reasons), member=member, cause="failed")
        if missing not in {None, "broken"}:
            self.metrics.count(names.MEMBER_FAILURES_TOTAL, member=member, cause=str(missing))
            if answer is None:
                return Said(np.full(rows, np.nan), "", "late", took_us, reasons, to_blame=True)
        self.metrics.observe(names.MEMBER_DURATION_SECONDS, took_s, member=member)
        if answer is None or not answer.rode_along:
            self.metrics.count(names.MEMBER_CALLS_TOTAL, member=member)
        to_blame = missing != "broken"
        if answer is None:
            return Said(np.full(rows, np.nan), "", "failed", took_us, reasons, to_blame)
        self.metrics.count(names.MEMBER_ROWS_TOTAL, rows, member=member, version=answer.version)
        self.metrics.observe(names.HOP_DURATION_SECONDS, took_s - answer.busy_s, station=member)
        if not answer.rode_along:
            self.metrics.count(names.MEMBER_BUSY_SECONDS_TOTAL, answer.busy_s, member=member)
            served(self.metrics, member, answer.computed, answer.busy_s)
        return Said(answer.scores, answer.version, "ok", took_us, reasons, to_blame, answer.busy_s, answer.computed)


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
        on_durable=inference.behind.learn,
    )
