"""The controller room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.controller.room import open_controller
from guidevane.services.controller.settings import ControllerSettings


async def work(room: Room[ControllerSettings]) -> None:
    """Steer until told to stop."""
    async with open_controller(room) as controller:
        await controller.run(
            room.stop, group=room.group, instance=room.settings.instance, every_s=room.settings.interval_s
        )


if __name__ == "__main__":
    live("controller", ControllerSettings, work)
