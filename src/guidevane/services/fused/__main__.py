"""Ingest, preprocess, inference and postprocess in one process.

Their topics are all written, for the monitors and the audit; offsets are committed after the last
output, as Kafka Streams does with sub-topologies.
"""

from guidevane.runtime.room import Room, live
from guidevane.services.hot import run_hot
from guidevane.services.inference.room import open_inference
from guidevane.services.inference.settings import InferenceSettings
from guidevane.services.ingest.room import open_door, open_ingest
from guidevane.services.ingest.settings import IngestSettings
from guidevane.services.postprocess.service import Postprocess, postprocess_stage
from guidevane.services.preprocess.service import Preprocess, preprocess_stage
from guidevane.services.preprocess.trial import FeatureTrial


class FusedSettings(IngestSettings, InferenceSettings):
    """Settings of all four."""


async def work(room: Room[FusedSettings]) -> None:
    """Answer for the hot path until told to stop."""
    inference, obey, lifeline = await open_inference(room)
    ingest = await open_ingest(room)
    preprocess = Preprocess(room.pipeline, room.codec)
    trial = FeatureTrial(room.settings.pipeline, preprocess.row)
    postprocess = Postprocess(room.pipeline, room.codec, clock=room.clock, metrics=room.metrics)
    stages = [ingest, preprocess_stage(preprocess, trial), inference, postprocess_stage(postprocess)]
    await run_hot(room, stages, obeying={"inference": obey}, beside=[open_door(room), lifeline])


if __name__ == "__main__":
    live("fused", FusedSettings, work)
