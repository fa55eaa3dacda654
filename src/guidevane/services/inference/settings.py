"""What an operator may set for inference."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guidevane.settings import RoomSettings


class InferenceSettings(RoomSettings):
    """Settings of the inference room; ``RAY_ADDRESS`` names the cluster, as Ray's own tools have it.

    ``max_batch`` is the largest micro-batch until the controller says otherwise, ``member_timeout_s``
    how long a member is waited for where the deadline has passed already. Without ``degrade`` nothing is left out of an
    answer and no event is shed, whatever the pipeline declares and the controller says.
    """

    max_batch: Annotated[int, Field(ge=1, le=4096)] = 512
    member_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    degrade: bool = True
