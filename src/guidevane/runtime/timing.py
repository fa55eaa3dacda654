"""What a worker tells of its flights: how long records were on their way, how long stages took, how old events are.

The times of a flight's records are made into arrays once, and cut where records leave the way: a stage that made
them anew paid for it with every flight, four times in a fused process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.telemetry import names
from guidevane.telemetry.service import served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.log import Message, Record
    from guidevane.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Times:
    """When the records of a batch could be read (0 where nobody knows), and when their events happened, if known.

    Both float64[n], microseconds since the epoch.
    """

    arrived_us: NDArray[np.float64]
    happened_us: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, records: Sequence[Record]) -> Times:
        """Return the times of records as they were fetched."""
        return cls(np.array([record.timestamp_us for record in records], dtype=np.float64))

    def answered(self, messages: Sequence[Message]) -> Times:
        """Return the same, with what answers, one each, say of when their events happened."""
        bodies = [message.body for message in messages]
        happened = [body["event_time_us"] for body in bodies if isinstance(body, dict) and "event_time_us" in body]
        # Who tells of some events only, tells of none: arrays of two lengths would be about different events.
        known = len(happened) == len(self.arrived_us)
        return Times(self.arrived_us, np.array(happened, dtype=np.float64)) if known else self

    def at(self, places: Sequence[int]) -> Times:
        """Return the times of those that go on; all of them, as they are, where nobody left."""
        if len(places) == len(self.arrived_us):
            return self
        kept = np.asarray(places, dtype=np.intp)
        return Times(self.arrived_us[kept], None if self.happened_us is None else self.happened_us[kept])


@dataclass(frozen=True, slots=True)
class Meter:
    """Puts a flight's times into metrics."""

    metrics: Metrics
    clock: Clock

    def learned(self, times: Times, messages: Sequence[Message]) -> Times:
        """Return the same, with what a stage's answers, one each, say of when their events happened."""
        return times if times.happened_us is not None else times.answered(messages)

    def came(self, stage: str, times: Times, now_us: int) -> None:
        """Note how long records were on their way to the first stage, by the log."""
        arrived_us = _known(times.arrived_us)
        if arrived_us.size:
            self.metrics.observe(names.HOP_DURATION_SECONDS, (now_us - arrived_us) / 1e6, station=stage)

    def waited(self, stage: str, waited_s: float) -> None:
        """Note how long a flight waited for a stage of the same process."""
        self.metrics.observe(names.HOP_DURATION_SECONDS, waited_s, station=stage)

    def handled(self, stage: str, records: int, took_s: float) -> None:
        """Note how long a stage's handler took for a batch."""
        if records:
            self.metrics.observe(names.BATCH_SIZE, float(records), stage=stage)
            self.metrics.observe(names.HANDLE_DURATION_SECONDS, took_s, stage=stage)
            served(self.metrics, stage, records, took_s)

    def counted(self, stage: str, *, out: int, dead: int, skipped: int) -> None:
        """Count what became of a batch."""
        for result, n in (("out", out), ("reject", dead), ("skip", skipped)):
            if n:
                self.metrics.count(names.EVENTS_TOTAL, n, stage=stage, result=result)

    def answered(self, stage: str, handled: Times, spoken: Times, *, first: bool) -> None:
        """Note how long it is since the records that a stage handled were readable, and since their events happened.

        ``spoken`` are those that it answered with a message; ``first`` says that the worker begins with this stage.
        """
        now_us = self.clock.now_us()
        arrived_us = _known(handled.arrived_us)
        if arrived_us.size:
            self.metrics.observe(names.STAGE_DURATION_SECONDS, (now_us - arrived_us) / 1e6, stage=stage)
        happened_us = spoken.happened_us
        if happened_us is not None and happened_us.size:
            self.metrics.observe(names.AGE_SECONDS, (now_us - happened_us) / 1e6, stage=stage)
            if first:
                # What is fused behind it answers the same events.
                self.metrics.arrive(stage, happened_us, now_us)

    def acknowledged(self, stage: str, took_s: float) -> None:
        """Note how long the log took to make a stage's answers durable."""
        self.metrics.observe(names.ACKNOWLEDGE_DURATION_SECONDS, took_s, stage=stage)


def _known(arrived_us: NDArray[np.float64]) -> NDArray[np.float64]:
    return arrived_us if arrived_us.all() else arrived_us[arrived_us > 0]
