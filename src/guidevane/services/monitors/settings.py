"""What an operator may set for the monitors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from guidevane.settings import RoomSettings

if TYPE_CHECKING:
    from pathlib import Path


class MonitorsSettings(RoomSettings):
    """Settings of the monitors room.

    A decision waits ``label_ttl_s`` of event time for its label, and a label for its decision; of both together,
    ``max_pending`` are remembered (half a kilobyte each). A snapshot is due every ``snapshot_every_s``.
    """

    label_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    max_pending: Annotated[int, Field(ge=1)] = 100_000
    snapshot_every_s: Annotated[float, Field(ge=0.1)] = 15.0

    def folder(self, pipeline: str) -> Path:
        """Return where the room keeps its state."""
        return self.state_dir / pipeline / "monitors"
