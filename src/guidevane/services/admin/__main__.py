"""The admin room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.admin.room import run_admin
from guidevane.services.admin.settings import AdminSettings


async def work(room: Room[AdminSettings]) -> None:
    """Answer people and programs until told to stop."""
    await run_admin(room)


if __name__ == "__main__":
    live("admin", AdminSettings, work)
