"""What the supervisor is told about a child, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to keep running.

    ``ready_url`` answers 2xx once it does its work; without one, it is ready when it is started.
    ``health_url`` answers 2xx while its loop goes round, and is asked from then on; without one,
    living is enough.
    """

    name: str
    argv: tuple[str, ...]
    log_path: Path
    env: Mapping[str, str] = field(default_factory=dict)
    health_url: str | None = None
    ready_url: str | None = None


class State(StrEnum):
    """What has become of a child."""

    STARTED = "started"
    WAITING = "waiting"
    READY = "ready"
    DIED = "died"
    RESTARTED = "restarted"
    STOPPED = "stopped"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a child's state.

    ``status`` is its exit status where it ended (negative: the signal); ``why`` what it says that it waits for.
    """

    child: str
    state: State
    status: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait before a restart, and when to stop trying.

    >>> [Patience().delay_s(deaths) for deaths in range(1, 8)]
    [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0]
    """

    first_s: float = 0.25
    cap_s: float = 15.0
    well_after_s: float = 30.0
    """Who lived this long after being ready starts again from ``first_s``."""
    deaths: int = 5
    within_s: float = 60.0
    """Who dies more than ``deaths`` times within this span without being ready is given up."""
    unwell_s: float = 30.0
    """Whose ``health_url`` has said nothing good for this long is ended, and so restarted."""
    told_every_s: float = 20.0
    """Who is not ready after so long, and says why, is told of; and again where it says something else."""
    stop_s: float = 20.0
    """How long a child may drain on SIGTERM before it is killed."""

    def delay_s(self, deaths: int) -> float:
        """Return the wait before the restart that follows that many deaths in a row."""
        return min(self.cap_s, self.first_s * 2.0 ** (deaths - 1))
