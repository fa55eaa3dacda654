"""What an operator may set for a room, from the environment: frozen, and a misspelt name refuses to start."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from guidevane.errors import Misconfigured
from guidevane.word import nearest

if TYPE_CHECKING:
    from guidevane.log.kafka import Connection

S = TypeVar("S", bound="RoomSettings")

PREFIX = "GUIDEVANE_"
FETCH_WAITS_S = 0.001, 5.0
"""The shortest and the longest time that a room may be told to let a fetch wait."""


class RoomSettings(BaseSettings):
    """What every room can be told, each as ``GUIDEVANE_<NAME>``. Defaults suit a laptop.

    Kafka's own settings come as ``KAFKA_<NAME>``: ``KAFKA_BOOTSTRAP_SERVERS``, and what aiokafka
    takes for security (``KAFKA_SECURITY_PROTOCOL``, ``KAFKA_SASL_MECHANISM``, ``KAFKA_SSL_CAFILE``, ...).
    ``fetch_wait_s`` is where a room begins; without it, what the pipeline's objective allows.
    ``clock_offset_s`` puts the room's wall clock ahead, as the drill does.

    A room stops once more than ``dead_letter_share`` of its last ``dead_letter_window`` events are dead letters, and at
    least ``dead_letter_least`` of them; a share of 1 is no limit.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    pipeline: str = "employment"
    instance: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    state_dir: Path = Path(".guidevane")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    session_timeout_s: Annotated[float, Field(ge=1)] = 10.0
    fetch_wait_s: Annotated[float, Field(ge=FETCH_WAITS_S[0], le=FETCH_WAITS_S[1])] | None = None
    delivery: Literal["effective", "transactional"] | None = None
    transact_every_s: Annotated[float, Field(ge=0, le=5)] = 0.1
    max_in_flight_records: Annotated[int, Field(ge=1)] = 8192
    dead_letter_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    dead_letter_window: Annotated[int, Field(ge=1)] = 1000
    dead_letter_least: Annotated[int, Field(ge=1)] = 100
    trace_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    log_level: str = "INFO"
    niceness: Annotated[int, Field(ge=0, le=19)] = 0
    clock_offset_s: float = 0.0

    def connection(self) -> Connection:
        """Return how to reach Kafka."""
        from guidevane.log.kafka import Connection  # noqa: PLC0415 - the CLI reads settings without a client

        return Connection.told(os.environ, session_timeout_s=self.session_timeout_s)


# Where `make models` finds the census records: no setting of a room.
_NOT_OURS = frozenset({"GUIDEVANE_DATA", "GUIDEVANE_MODELS"})


def read_settings(kind: type[S]) -> S:
    """Return a room's settings. Raises ``Misconfigured`` naming each wrong or unknown name.

    pydantic-settings accepts an unknown environment name in silence: the prefix is checked here.
    """
    known = {f"{PREFIX}{name.upper()}" for name in _all_fields()} | _NOT_OURS
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise Misconfigured("\n".join(f"{name} is no setting → {nearest(name, sorted(known))}" for name in unknown))
    try:
        return kind()
    except ValidationError as wrong:
        lines = [f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].lower()}" for e in wrong.errors()]
        raise Misconfigured("\n".join(lines)) from None


def _all_fields() -> set[str]:
    """Return the fields of every room's settings that is known in this process, this room's own among them.

    Rooms of one pipeline are often started from one environment, so a name is only unknown where
    no room has it.
    """
    kinds: list[type[BaseSettings]] = [RoomSettings]
    names: set[str] = set()
    while kinds:
        kind = kinds.pop()
        names |= set(kind.model_fields)
        kinds.extend(kind.__subclasses__())
    return names | ROOM_SETTINGS


ROOM_SETTINGS: frozenset[str] = frozenset(
    {
        "http_host", "http_port", "http_token", "admin_host", "admin_port", "admin_token", "dedupe_window",
        "pseudonym_key", "pseudonym_key_file", "max_batch", "degrade", "member_timeout_s", "ray_dashboard",
        "snapshot_every_s", "interval_s", "min_replicas", "max_replicas", "replica_cpus", "startup_s",
        "usd_per_cpu_hour", "usd_per_gpu_hour", "profile", "label_ttl_s", "max_pending",
        "max_consumers", "consumers_by", "supervisor_url", "supervisor_token_path", "kubernetes_workload",
        "kubernetes_namespace", "room_startup_s",
    }
)  # fmt: skip
"""Settings of single rooms, so that one environment can serve all of them; a test holds it current."""
