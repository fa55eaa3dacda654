"""A limit on the share of dead letters: where most events die, the room is what must be mended, not the events."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guidevane.errors import Reject

_TOLD = 3


class TooManyDeadLetters(Misconfigured):
    """A room's dead letters have passed its limit: it stops, and what it has not answered stays in the log."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimit:
    """At most ``share`` (0-1) of the last ``window`` events may die, once ``least`` of them have; 1 is no limit.

    >>> limit = DeadLetterLimit(share=0.5, window=1000, least=100)
    >>> limit.passed(dead=100, seen=150), limit.passed(dead=99, seen=99), limit.passed(dead=100, seen=200)
    (True, False, False)
    >>> DeadLetterLimit(share=1, least=1).passed(dead=2, seen=1)
    False
    """

    share: float = 0.5
    window: int = 1000
    least: int = 100

    def passed(self, *, dead: int, seen: int) -> bool:
        """Tell whether so many deaths among so many events are too many."""
        return self.share < 1 and dead >= self.least and dead > self.share * seen


class Tally:
    """What became of the last events, batch by batch."""

    def __init__(self, limit: DeadLetterLimit) -> None:
        self.limit = limit
        self._batches: deque[tuple[int, Counter[str]]] = deque()
        self._seen = 0
        self._dead: Counter[str] = Counter()

    @property
    def share(self) -> float:
        """Return the share of the window that died, 0-1."""
        return self._dead.total() / self._seen if self._seen else 0.0

    def note(self, stage: str, seen: int, rejects: Iterable[Reject]) -> None:
        """Count a batch before its dead letters are written. Raises ``TooManyDeadLetters``."""
        causes = Counter(f"{stage} {reject.cause}" for reject in rejects)
        self._batches.append((seen, causes))
        self._seen += seen
        self._dead += causes
        while self._batches and self._seen - self._batches[0][0] >= self.limit.window:
            gone, old = self._batches.popleft()
            self._seen -= gone
            self._dead -= old
        dead = self._dead.total()
        if causes and self.limit.passed(dead=dead, seen=self._seen):
            most = ", ".join(f"{cause} ({count})" for cause, count in self._dead.most_common(_TOLD))
            raise TooManyDeadLetters(
                f"{dead} of the last {self._seen} events are dead letters, more than the share of {self.limit.share:g} "
                f"that GUIDEVANE_DEAD_LETTER_SHARE allows: {most}. Nothing is lost: what is not answered stays in the "
                f"log, and is read when the room starts again. See `guidevane dlq list`, mend the producer or the "
                f"pipeline, then start the room; or raise the limit (1: none) to set all of them aside"
            )
