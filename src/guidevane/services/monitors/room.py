"""The monitors room, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.log import Fetch
from guidevane.monitors.monitor import watch
from guidevane.monitors.outcomes import OutcomeJoin
from guidevane.services.monitors.service import MonitorsRoom, Pace
from guidevane.services.monitors.store import Store
from guidevane.services.monitors.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.runtime.room import Room
    from guidevane.services.monitors.settings import MonitorsSettings


def open_monitors(room: Room[MonitorsSettings]) -> MonitorsRoom:
    """Return the room, ready to run. Raises ``Misconfigured`` where a monitor does not fit the pipeline."""
    settings = room.settings
    # Importing River takes seconds, in which no heartbeat is sent: that is done before the group is joined, and
    # what is wrong with a monitor is told before, too.
    watch(room.pipeline.monitors, room.pipeline)

    def begin(partitions: Mapping[str, int]) -> Watcher:
        return Watcher(
            room.pipeline,
            room.codec,
            OutcomeJoin(ttl_s=settings.label_ttl_s, max_pending=settings.max_pending),
            group=room.group,
            partitions=partitions,
            clock=room.clock,
            metrics=room.metrics,
        )

    return MonitorsRoom(
        begin,
        Store(settings.folder(room.pipeline.name)),
        topics=room.pipeline.topics,
        log=room.log,
        group=room.group,
        clock=room.clock,
        metrics=room.metrics,
        health=room.health,
        pace=Pace(
            # Nobody waits for a monitor: large turns cost the broker and this room least, and of many records of a
            # partition the columns are made at once.
            fetch=Fetch(wait_s=max(settings.fetch_wait_s or 0.0, 0.5), max_records=4096),
            snapshot_every_s=settings.snapshot_every_s,
            session_s=settings.session_timeout_s,
        ),
    )
