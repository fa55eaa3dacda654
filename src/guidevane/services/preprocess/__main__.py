"""The preprocess room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.hot import run_hot
from guidevane.services.preprocess.service import Preprocess, preprocess_stage
from guidevane.settings import RoomSettings


async def work(room: Room[RoomSettings]) -> None:
    """Answer for preprocessing until told to stop."""
    await run_hot(room, [preprocess_stage(Preprocess(room.pipeline, room.codec))])


if __name__ == "__main__":
    live("preprocess", RoomSettings, work)
