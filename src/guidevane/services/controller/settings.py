"""What an operator may set for the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guidevane.settings import RoomSettings


class ControllerSettings(RoomSettings):
    """Settings of the controller room.

    It decides every ``interval_s``; ``ray_dashboard`` is where Ray Serve's REST API answers, with the token of
    the file that ``RAY_AUTH_TOKEN_PATH`` names; each member has ``min_replicas`` to ``max_replicas``, all of them
    together take at most ``replica_cpus`` cores (0: no such limit). ``profile`` is what ``guidevane profile --json``
    wrote: without it, profiles are learned from live batches. ``startup_s`` of a replica holds until one was seen to
    start. Replicas cost ``usd_per_cpu_hour`` and ``usd_per_gpu_hour`` for what their member declares.

    Each room has up to ``max_consumers`` processes, which ``consumers_by`` runs: ``nobody`` (their number is left as it
    is), the ``supervisor`` of ``guidevane up`` at ``supervisor_url`` with the token of a file, or ``kubernetes``, where
    ``kubernetes_workload`` names each room's Deployment or StatefulSet (``statefulsets/{pipeline}-{room}``) in
    ``kubernetes_namespace`` (the pod's own). ``room_startup_s`` is how long a process may take to be heard.
    """

    ray_dashboard: str = "http://127.0.0.1:8265"
    interval_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 4
    replica_cpus: Annotated[float, Field(ge=0)] = 0.0
    startup_s: Annotated[float, Field(gt=0)] = 20.0
    usd_per_cpu_hour: Annotated[float, Field(ge=0)] = 0.04
    usd_per_gpu_hour: Annotated[float, Field(ge=0)] = 0.7
    profile: Path | None = None
    max_consumers: Annotated[int, Field(ge=1)] = 4
    consumers_by: Literal["nobody", "supervisor", "kubernetes"] = "nobody"
    supervisor_url: str = ""
    supervisor_token_path: Path | None = None
    kubernetes_workload: str = "statefulsets/{pipeline}-{room}"
    kubernetes_namespace: str | None = None
    room_startup_s: Annotated[float, Field(gt=0)] = 60.0
