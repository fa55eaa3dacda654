"""The postprocess room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.hot import run_hot
from guidevane.services.postprocess.service import Postprocess, postprocess_stage
from guidevane.settings import RoomSettings


async def work(room: Room[RoomSettings]) -> None:
    """Answer for postprocessing until told to stop."""
    postprocess = Postprocess(room.pipeline, room.codec, clock=room.clock, metrics=room.metrics)
    await run_hot(room, [postprocess_stage(postprocess)])


if __name__ == "__main__":
    live("postprocess", RoomSettings, work)
