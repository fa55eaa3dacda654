"""The preprocess room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.hot import run_hot
from guidevane.services.preprocess.service import Preprocess, preprocess_stage
from guidevane.services.preprocess.trial import FeatureTrial
from guidevane.settings import RoomSettings


async def work(room: Room[RoomSettings]) -> None:
    """Answer for preprocessing until told to stop."""
    preprocess = Preprocess(room.pipeline, room.codec)
    await run_hot(room, [preprocess_stage(preprocess, FeatureTrial(room.settings.pipeline, preprocess.row))])


if __name__ == "__main__":
    live("preprocess", RoomSettings, work)
