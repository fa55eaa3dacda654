"""The ledger: what was sent, what became of it, and how long that took. Kept outside Kafka, and pure.

An event's latency runs from the time it was *due*, not from when it was sent: a generator that falls
behind must not flatter what it measures (coordinated omission).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9}


@dataclass(slots=True)
class Entry:
    """One event: when it was due, its truth, and what came back.

    ``partition`` and ``offset`` are where Kafka said that it lies, ``None`` for as long as it has not;
    ``expects`` is the cause for which it must die, empty where it must be decided.
    """

    due_us: int
    label: float = 0.0
    key: bytes | None = None
    expects: str = ""
    partition: int | None = None
    offset: int | None = None
    decided_us: int | None = None
    content: int | None = None
    positive: bool | None = None
    outcome: str = ""
    dead: bool = False


@dataclass(slots=True)
class Ledger:
    """Every event that Kafka acknowledged, and every outcome that was read back.

    >>> ledger = Ledger()
    >>> ledger.sent("e1", due_us=1_000_000, label=1.0)
    >>> ledger.decided("e1", b"yes", at_us=1_080_000, positive=True, outcome="full")
    >>> ledger.lost, ledger.latencies_ms().tolist(), ledger.latencies_ms(until_us=1_000_000).tolist()
    (0, [80.0], [])
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    waiting: int = 0
    duplicated: int = 0
    conflicting: int = 0
    unknown: int = 0

    def sent(
        self, event_id: str, *, due_us: int, label: float = 0.0, key: bytes | None = None, expects: str = ""
    ) -> None:
        """An event is on its way to Kafka."""
        self.entries[event_id] = Entry(due_us, label, key, expects)
        self.waiting += 1

    def acknowledged(self, event_id: str, partition: int, offset: int) -> None:
        """Kafka has it, at this place; of an event that was sent twice, the first place counts."""
        entry = self.entries[event_id]
        if entry.offset is None:
            entry.partition, entry.offset = partition, offset

    def decided(self, event_id: str, content: bytes, *, at_us: int, positive: bool, outcome: str) -> None:
        """A decision was read; the first one counts."""
        entry = self.entries.get(event_id)
        if entry is None:
            self.unknown += 1
            return
        if entry.dead:
            self.conflicting += 1
        elif entry.decided_us is not None:
            self.duplicated += 1
            self.conflicting += entry.content != hash(content)
        else:
            entry.decided_us, entry.content = at_us, hash(content)
            entry.positive, entry.outcome = positive, outcome
            self.waiting -= 1

    def died(self, event_id: str) -> None:
        """A dead letter was read."""
        entry = self.entries.get(event_id)
        if entry is None:
            self.unknown += 1
        elif entry.decided_us is not None:
            self.conflicting += 1
        elif entry.dead:
            self.duplicated += 1
        else:
            entry.dead = True
            self.waiting -= 1

    @property
    def lost(self) -> int:
        """Return how many events have no outcome (yet)."""
        return self.waiting

    @property
    def decisions(self) -> int:
        """Return how many events were decided."""
        return sum(entry.decided_us is not None for entry in self.entries.values())

    @property
    def dead_letters(self) -> int:
        """Return how many events are dead letters."""
        return sum(entry.dead for entry in self.entries.values())

    def latencies_ms(self, *, since_us: int = 0, until_us: float = math.inf) -> NDArray[np.float64]:
        """Return the latency of each decided event that was due in ``[since_us, until_us)``, milliseconds."""
        return np.array(
            [
                (each.decided_us - each.due_us) / 1e3
                for each in self.entries.values()
                if each.decided_us and since_us <= each.due_us < until_us
            ]
        )

    def timeline(self, step_s: float = 5.0) -> list[dict[str, float | None]]:
        """Return p50 and p99 of the events due in each step of the run: how it began, and how it went on."""
        if not self.entries:
            return []
        start_us = min(entry.due_us for entry in self.entries.values())
        steps: dict[int, list[float]] = {}
        for entry in self.entries.values():
            if entry.decided_us is not None:
                step = int((entry.due_us - start_us) / 1e6 / step_s)
                steps.setdefault(step, []).append((entry.decided_us - entry.due_us) / 1e3)
        return [
            {"from_s": step * step_s, "p50": found["p50"], "p99": found["p99"]}
            for step, values in sorted(steps.items())
            for found in [percentiles(np.array(values))]
        ]

    def late(self, within_ms: float) -> int:
        """Return how many were decided too late. What is lost or dead is counted as such, not here."""
        return int((self.latencies_ms() > within_ms).sum())

    def missed(self, within_ms: float, *, since_us: int = 0, until_us: int | None = None) -> tuple[int, int]:
        """Return how many of the events due in ``[since_us, until_us)`` missed the objective, and how many there were.

        Missed is what was decided too late, what was shed (in time, but without being looked at), what died and
        what has no outcome.
        """
        due = [e for e in self.entries.values() if e.due_us >= since_us and (until_us is None or e.due_us < until_us)]
        kept = sum(
            e.decided_us is not None and e.outcome != "shed" and e.decided_us - e.due_us <= within_ms * 1e3 for e in due
        )
        return len(due) - kept, len(due)

    def accuracy(self) -> float | None:
        """Return the share of decisions that the truth agrees with, 0-1."""
        right = [e.positive == bool(round(e.label)) for e in self.entries.values() if e.decided_us is not None]
        return float(np.mean(right)) if right else None

    def outcomes(self) -> dict[str, int]:
        """Return how many decisions were full, degraded, fallback, shed."""
        found: dict[str, int] = {}
        for entry in self.entries.values():
            if entry.decided_us is not None:
                found[entry.outcome] = found.get(entry.outcome, 0) + 1
        return found

    def rate_per_s(self) -> float:
        """Return decisions per second, from the first event due to the last decision."""
        times = [e.decided_us for e in self.entries.values() if e.decided_us is not None]
        if not times:
            return 0.0
        span_s = (max(times) - min(e.due_us for e in self.entries.values())) / 1e6
        return len(times) / span_s if span_s > 0 else 0.0


def percentiles(latencies_ms: NDArray[np.float64]) -> dict[str, float | None]:
    """Return p50, p99 and p999, or nothing for each where nothing was measured.

    >>> percentiles(np.array([1.0, 2.0, 3.0]))["p50"]
    2.0
    """
    if not latencies_ms.size:
        return dict.fromkeys(_PERCENTILES)
    return {name: round(float(np.percentile(latencies_ms, q)), 1) for name, q in _PERCENTILES.items()}
