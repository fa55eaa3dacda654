"""The topics of a pipeline: names, what each carries, and how each is created."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TELEMETRY = "guidevane.telemetry"
CONTROL = "guidevane.control"
AUDIT = "guidevane.audit"

DEFAULT_PARTITIONS = 12
_WEEK_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How one topic is created: partitions and the Kafka settings that matter to us."""

    name: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one pipeline, by what they carry.

    Partition ``p`` of each hot topic answers partition ``p`` of the one before it, so all
    have equally many partitions.

    >>> Topics("employment").accepted
    'employment.accepted'
    """

    pipeline: str

    @property
    def events(self) -> str:
        """What producers send: Avro or JSON, guilty until decoded."""
        return f"{self.pipeline}.events"

    @property
    def accepted(self) -> str:
        """Events that keep the contract, deduplicated, pseudonymised, with a deadline."""
        return f"{self.pipeline}.accepted"

    @property
    def features(self) -> str:
        """Feature vectors."""
        return f"{self.pipeline}.features"

    @property
    def predictions(self) -> str:
        """What each member and the ensemble said."""
        return f"{self.pipeline}.predictions"

    @property
    def decisions(self) -> str:
        """The answers."""
        return f"{self.pipeline}.decisions"

    @property
    def labels(self) -> str:
        """What turned out to be true, late and unordered."""
        return f"{self.pipeline}.labels"

    @property
    def outcomes(self) -> str:
        """Decisions joined with their labels."""
        return f"{self.pipeline}.outcomes"

    @property
    def alerts(self) -> str:
        """What the monitors say."""
        return f"{self.pipeline}.alerts"

    @property
    def dlq(self) -> str:
        """Dead letters of every stage, original bytes untouched."""
        return f"{self.pipeline}.dlq"

    @property
    def redrives(self) -> str:
        """Which dead letters were sent again, and where to; compacted."""
        return f"{self.pipeline}.redrives"

    def windows(self, identity: str) -> str:
        """What windows hold, by key: the changelog of a table. Other windows are another table.

        >>> Topics("electricity").windows("0123abcd")
        'electricity.windows.0123abcd'
        """
        return f"{self.pipeline}.windows.{identity}"

    def specs(self, partitions: int = DEFAULT_PARTITIONS, *, windows: str | None = None) -> list[TopicSpec]:
        """Return every topic that the pipeline needs, the platform's own three included."""
        hot = {"retention.ms": str(_WEEK_MS)}
        # The broker's own clock stamps decisions: when a decision became readable is then a
        # fact that no room's clock can bend, and latency needs no observer on the hot path.
        stamped = {**hot, "message.timestamp.type": "LogAppendTime"}
        keep = {"retention.ms": str(2 * _WEEK_MS)}
        # Segments are small, so that what was overwritten is soon gone: a takeover reads all of it.
        table = {"cleanup.policy": "compact", "segment.bytes": str(8 << 20), "min.cleanable.dirty.ratio": "0.2"}
        return [
            *([TopicSpec(windows, partitions, table)] if windows is not None else []),
            TopicSpec(self.events, partitions, hot),
            TopicSpec(self.accepted, partitions, hot),
            TopicSpec(self.features, partitions, hot),
            TopicSpec(self.predictions, partitions, hot),
            TopicSpec(self.decisions, partitions, stamped),
            TopicSpec(self.labels, partitions, hot),
            TopicSpec(self.outcomes, partitions, hot),
            TopicSpec(self.alerts, partitions, keep),
            TopicSpec(self.dlq, partitions, keep),
            TopicSpec(self.redrives, 1, {"cleanup.policy": "compact"}),
            TopicSpec(TELEMETRY, 1, {"retention.ms": str(_WEEK_MS // 7)}),
            TopicSpec(CONTROL, 1, {"cleanup.policy": "compact"}),
            TopicSpec(AUDIT, 1, {"retention.ms": "-1"}),
        ]
