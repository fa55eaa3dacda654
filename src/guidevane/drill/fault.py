"""A fault, declared: what it is called, what it does, when all is well again, and by when that should be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidevane.drill.scene import Scene

Deed = Callable[["Scene"], Awaitable[None]]
Doubt = Callable[["Scene"], Awaitable[list[str]]]

WELL = "every event that is due is decided in full within 1 s, for 1 s on end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    ``hurt`` returns when it is over: at once for what is killed, after the pause for what is paused.
    ``mend`` runs afterwards, whatever came of it. ``rooms`` must say that they are ready before all is
    well. ``also`` asks what the ledger cannot see, and returns what is wrong. ``behind_zombie`` and
    ``places_forgotten`` are what it excuses (:class:`guidevane.ledger.Allowance`).
    """

    name: str
    does: str
    hurt: Deed
    within_s: float
    mend: Deed | None = None
    rooms: tuple[str, ...] = ()
    behind_zombie: bool = False
    places_forgotten: bool = False
    also: Doubt | None = None

    @property
    def recovered(self) -> str:
        """Say when all is well again."""
        return WELL + (f", and ready: {', '.join(self.rooms)}" if self.rooms else "")
