"""What was seen of a pipeline at one moment: the only thing, besides its memory, that a policy knows.

``None`` says that something is not known. It is never written as zero: a room that fell silent
and a room without work are two things, and only one of them may be scaled down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOT = ("ingest", "preprocess", "inference", "postprocess")
"""The stages between event and decision, in order; also the rooms that the control topic names."""

_ENOUGH_PER_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeen:
    """One stage over the last window, all instances together. Times in seconds, rates per second.

    ``fetches`` tells the stage that reads a topic from one that is fused behind another.
    ``records`` is how many outputs the percentiles rest on. ``duration`` is from the record on the
    input topic to the acknowledged output, ``age`` from event time to there, ``service_s`` one
    handled batch of ``batch`` records on average.
    """

    name: str
    fetches: bool
    records: int
    rate_per_s: float | None = None
    lag_records: float | None = None
    age_p50_s: float | None = None
    age_p99_s: float | None = None
    duration_p50_s: float | None = None
    duration_p99_s: float | None = None
    batch: float | None = None
    service_s: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    settings_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSeen:
    """One member of the ensemble. ``busy`` is seconds computed per second, over all its replicas.

    ``replicas`` is how many are wanted now, as Ray Serve says itself.
    """

    name: str
    busy: float | None = None
    rows_per_s: float | None = None
    calls_per_s: float | None = None
    duration_p99_s: float | None = None
    replicas: int | None = None

    @property
    def busy_per_row_s(self) -> float | None:
        """Return how long one row keeps a replica busy; ``None`` where hardly any rows were seen."""
        if self.busy is None or self.rows_per_s is None or self.rows_per_s < _ENOUGH_PER_S:
            return None
        return self.busy / self.rows_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A pipeline at ``at_us``. ``missing`` names the stages that say nothing; ``paused`` why nothing shall be done."""

    at_us: int
    pipeline: str
    stages: tuple[StageSeen, ...] = ()
    members: tuple[MemberSeen, ...] = ()
    missing: tuple[str, ...] = ()
    paused: str = ""

    def stage(self, name: str) -> StageSeen | None:
        """Return one stage, or ``None`` where it was not seen."""
        return next((each for each in self.stages if each.name == name), None)
