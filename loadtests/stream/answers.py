"""What came back, matched with what was due. Read when the clock has stopped, so that looking costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from fastavro import schemaless_reader

from guidevane.catalogue import Catalogue
from guidevane.pipelines.employment import pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loadtests.stream.broker import Answer

_FRAME_BYTES = 5
_QUANTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9}


@dataclass(frozen=True, slots=True)
class Answers:
    """When each event of a run was answered, int64[n] microseconds, 0 where it was not; and what was wrong."""

    at_us: NDArray[np.int64]
    duplicated: int
    foreign: int
    full: int

    @property
    def lost(self) -> int:
        """Return how many events have no answer."""
        return int((self.at_us == 0).sum())


def match(found: Iterable[Answer], run: str, count: int, *, decides: bool) -> Answers:
    """Match what was written with the events of a run, ``<run>-0`` to ``<run>-<count - 1>``."""
    catalogue = Catalogue([pipeline.event])
    relayed = catalogue.version(pipeline.event.name, pipeline.event.version)
    schema: Any = (catalogue.latest("decision") if decides else relayed).parsed
    at_us = np.zeros(count, dtype=np.int64)
    duplicated = foreign = full = 0
    for answer in found:
        body: Any = schemaless_reader(BytesIO(answer.value[_FRAME_BYTES:]), schema, None)
        of, _, index = body["event_id"].rpartition("-")
        if of != run:
            foreign += 1
        elif at_us[int(index)]:
            duplicated += 1
        else:
            at_us[int(index)] = answer.at_us
            full += not decides or body["outcome"] == "full"
    return Answers(at_us, duplicated, foreign, full)


def latency_ms(due_us: NDArray[np.int64], answers: Answers) -> dict[str, float | None]:
    """Return p50, p99 and p999 from due to readable, milliseconds; nothing where nothing was answered."""
    answered = answers.at_us > 0
    if not answered.any():
        return dict.fromkeys(_QUANTILES)
    took = (answers.at_us[answered] - due_us[answered]) / 1e3
    return {name: round(float(np.percentile(took, q)), 1) for name, q in _QUANTILES.items()}


def backlog_s(due_us: NDArray[np.int64], at_us: NDArray[np.int64], rate_per_s: float) -> tuple[float, float]:
    """Return how many seconds' worth of events waited in the middle of the run, and at its end.

    >>> due = np.arange(0, 10_000_000, 100_000)
    >>> backlog_s(due, due + 250_000, 10.0)
    (0.3, 0.3)
    """
    answered = np.sort(np.where(at_us > 0, at_us, np.iinfo(np.int64).max))
    waiting = []
    for moment in ((due_us[0] + due_us[-1]) // 2, due_us[-1]):
        came = np.searchsorted(due_us, moment, side="right")
        left = np.searchsorted(answered, moment, side="left")
        waiting.append(round(float(came - left) / rate_per_s, 2))
    return waiting[0], waiting[1]
