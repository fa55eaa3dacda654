"""What an operator may set for the controller."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guidevane.settings import RoomSettings


class ControllerSettings(RoomSettings):
    """Settings of the controller room.

    It decides every ``interval_s``; ``ray_dashboard`` is where Ray Serve's REST API answers, with the token of
    the file that ``RAY_AUTH_TOKEN_PATH`` names; each member has ``min_replicas`` to ``max_replicas``.
    """

    ray_dashboard: str = "http://127.0.0.1:8265"
    interval_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 4
