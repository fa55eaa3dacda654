"""The ingest room's process."""

from guidevane.runtime.room import Room, live
from guidevane.services.hot import run_hot
from guidevane.services.ingest.room import open_door, open_ingest
from guidevane.services.ingest.settings import IngestSettings


async def work(room: Room[IngestSettings]) -> None:
    """Answer for ingest until told to stop."""
    await run_hot(room, [await open_ingest(room)], beside=[open_door(room)])


if __name__ == "__main__":
    live("ingest", IngestSettings, work)
