"""The monitors room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.monitors.room import open_monitors
from guidevane.services.monitors.settings import MonitorsSettings


async def work(room: Room[MonitorsSettings]) -> None:
    """Watch until told to stop."""
    await open_monitors(room).run(room.stop)


if __name__ == "__main__":
    live("monitors", MonitorsSettings, work)
