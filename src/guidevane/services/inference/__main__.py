"""The inference room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.hot import run_hot
from guidevane.services.inference.room import open_inference
from guidevane.services.inference.settings import InferenceSettings


async def work(room: Room[InferenceSettings]) -> None:
    """Answer for inference until told to stop."""
    stage, obey, lifeline = await open_inference(room, rooms_behind=1)
    await run_hot(room, [stage], obeying={"inference": obey}, beside=[lifeline])


if __name__ == "__main__":
    live("inference", InferenceSettings, work)
