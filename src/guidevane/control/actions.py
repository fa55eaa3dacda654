"""What the controller may do to a pipeline, and what it tells of each decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from guidevane.control.observation import Observation
    from guidevane.control.plant import Rejected


@dataclass(frozen=True, slots=True)
class Set:
    """Change one setting of one room."""

    room: str
    name: str
    value: float
    before: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Change how many replicas a member has."""

    member: str
    replicas: int
    before: int
    reason: str


@dataclass(frozen=True, slots=True)
class Staff:
    """Change how many consumers (processes) a room has."""

    room: str
    consumers: int
    before: int
    reason: str


Act: TypeAlias = Set | Scale | Staff


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What became of an act: whether it is in force, and how the pipeline was before and is since.

    ``before`` and ``since`` have the rate, the share that missed (0-1) and the p99 age in seconds, as far as known.
    """

    subject: str
    name: str
    value: float
    took: bool
    after_s: float
    before: Mapping[str, float]
    since: Mapping[str, float]
    promised_miss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What shall be done now, and why.

    ``why`` stays the same while its cause lasts; ``reason`` has the figures of the moment. ``rate_per_s`` is what
    comes, ``ready_for_per_s`` what it is to be ready for; the plan for it would miss ``predicted_miss`` (0-1) of the
    events and cost ``usd_per_hour``. ``effects`` tell of acts that were decided earlier.
    """

    acts: tuple[Act, ...] = ()
    why: str = ""
    reason: str = ""
    rate_per_s: float | None = None
    ready_for_per_s: float | None = None
    rejected: tuple[Rejected, ...] = ()
    predicted_miss: float | None = None
    usd_per_hour: float | None = None
    plan: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    effects: tuple[Effect, ...] = ()

    @property
    def held(self) -> bool:
        """Tell whether nothing is to be done."""
        return not self.acts


Policy: TypeAlias = Callable[["Observation", Any], tuple[Decision, Any]]
"""``(observation, memory) -> (decision, memory)``; the memory is its own affair, ``None`` before the first one."""
