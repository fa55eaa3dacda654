"""Members on Ray Serve: one deployment each, in one application with the pipeline's name.

With ``judge.py``, the only file of the rooms that imports Ray. Calls go by handle, one a member and micro-batch;
Serve's HTTP proxies are not started. Replicas are scaled from outside, by the controller.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from guidevane.errors import Misconfigured, Retryable
from guidevane.registry import Registry
from guidevane.runtime.garbage import freeze
from guidevane.services.inference.members import Answer, MemberDied, MemberFailed, Vectors
from guidevane.services.inference.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.ensemble import Autocast, Device
    from guidevane.pipeline import Pipeline

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
# Below two, a replica idles while the next batch travels; far above it, calls queue where no
# deadline is known (forty calls in flight against four fell to 22 calls/s).
_ONGOING = 4
_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """What a replica needs to know, as plain data: it must not import the author's pipeline to score."""

    name: str
    model: str
    models: str
    places: tuple[int, ...]
    tile: int
    device: Device
    autocast: Autocast | None
    num_gpus: float
    num_cpus: float
    warm_up: tuple[int, ...]
    stuck_after_s: float

    @property
    def identity(self) -> str:
        """Return a name that changes with everything that could change an answer."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=8).hexdigest()


def specs(pipeline: Pipeline) -> list[MemberSpec]:
    """Return the members' specs, aliases resolved to versions. Raises ``Misconfigured``."""
    registry = Registry(pipeline.models) if pipeline.models is not None else None
    found = []
    for member in pipeline.ensemble.members:
        model = member.model
        if model.startswith("models:"):
            if registry is None:
                raise Misconfigured(f"member {member.name} looks up {model}, but {pipeline.name} has no models folder")
            version = registry.resolve(model)
            model = f"models:/{version.name}/{version.version}"
        found.append(
            MemberSpec(
                member.name, model, str(pipeline.models or ""),
                tuple(int(place) for place in pipeline.vector.places(member.inputs)),
                member.tile, member.device, member.autocast, member.num_gpus, member.num_cpus, member.warm_up,
                member.stuck_after_s,
            )
        )  # fmt: skip
    return found


class MemberReplica:
    """One replica of one member: loads, warms up, scores."""

    def __init__(self, spec: dict[str, Any], others: tuple[Any, ...] = ()) -> None:
        # ``others`` are the handles of the other members: Serve deploys what its root is bound to.
        del others
        from guidevane.registry import Tiled, load  # noqa: PLC0415 - only replicas need a framework

        self.spec = MemberSpec(**spec)
        stored = self.spec.model.startswith("models:")
        source = Registry(Path(self.spec.models)).resolve(self.spec.model) if stored else self.spec.model
        device = self.spec.device
        if self.spec.num_gpus and not _gpu():
            says = "%s declares a GPU, none is here: it runs on the CPU"
            logging.getLogger("ray.serve").warning(says, self.spec.name)
            device = "cpu"
        self.predictor = load(source, device=device, autocast=self.spec.autocast)
        self.tiled = Tiled(self.predictor, self.spec.tile)
        self.places = np.array(self.spec.places, dtype=np.intp)
        for rows in self.spec.warm_up:
            self.tiled.predict(np.zeros((rows, len(self.places)), dtype=np.float32))
        self.watchdog = Watchdog(self.spec.stuck_after_s)
        freeze()

    async def predict(self, matrix: Vectors) -> tuple[Any, str, float]:
        """Return (float64[n] scores, version, seconds computed) for the ensemble's whole matrix float32[n, width]."""
        started = time.perf_counter()
        try:
            with self.watchdog:
                scores = self.tiled.predict(np.ascontiguousarray(matrix[:, self.places]))
        except Exception as raised:  # noqa: BLE001 - an author's model may raise anything
            # Serve's gRPC path hands the caller whatever was raised, as if the room itself had raised it.
            raise MemberFailed(f"{self.spec.name}: {raised!r:.200}") from None
        return scores, self.predictor.version, time.perf_counter() - started

    async def describe(self) -> dict[str, str]:
        """Return which spec runs here, and on what."""
        return {
            "identity": self.spec.identity, "version": self.predictor.version,
            "device": self.predictor.device, "pid": str(os.getpid()),
        }  # fmt: skip


def connect() -> None:
    """Join the Ray cluster that ``RAY_ADDRESS`` names. Raises ``Retryable`` where none answers."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        raise Misconfigured("RAY_ADDRESS is not set: start a cluster with `ray start --head`, or use `guidevane up`")
    try:
        # Serve tells of every call that is cancelled; the room counts them.
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        ray.init(
            address=address,
            namespace="guidevane",
            log_to_driver=False,
            configure_logging=False,
            ignore_reinit_error=True,
        )
    except (ConnectionError, RayError, RuntimeError) as away:
        raise Retryable(f"no Ray at {address}: {away}") from away


async def deploy(pipeline: Pipeline) -> None:
    """Deploy every member; what runs already with the same spec is left as it is, replicas and all.

    Returns when all are ready: loading frameworks takes tens of seconds, none of them in this loop.
    """
    wanted = await asyncio.to_thread(specs, pipeline)
    running = await asyncio.to_thread(_status, pipeline.name)
    if running == "RUNNING" and await _same(pipeline.name, wanted):
        _log.info("all members of %s run already", pipeline.name)
        return
    await asyncio.to_thread(_deploy, pipeline.name, wanted)


def _status(app: str) -> str | None:
    serve.start(proxy_location="Disabled")
    running = serve.status().applications.get(app)
    return None if running is None else str(running.status.value)


def _deploy(app: str, wanted: list[MemberSpec]) -> None:
    gpus = float(ray.cluster_resources().get("GPU", 0))
    rest = [_bound(spec, gpus) for spec in wanted[1:]]
    # One application needs one root: the first member holds the handles of the others, unused,
    # which spares a replica that would only hold handles.
    serve.run(
        _bound(wanted[0], gpus, tuple(rest)),
        name=app,
        route_prefix=None,
        external_scaler_enabled=True,
        # A line of log for every call costs a replica as much as a small model.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )


def _bound(spec: MemberSpec, gpus: float, others: tuple[Any, ...] = ()) -> Any:
    num_gpus = spec.num_gpus if gpus >= spec.num_gpus else 0.0
    deployment = serve.deployment(MemberReplica).options(
        name=spec.name,
        num_replicas=1,
        max_ongoing_requests=_ONGOING,
        ray_actor_options={"num_cpus": spec.num_cpus, "num_gpus": num_gpus},
        # Serve takes three silences in a row for death: a replica that hangs is replaced after some nine seconds.
        health_check_period_s=1,
        health_check_timeout_s=2,
        graceful_shutdown_timeout_s=5,
    )
    return deployment.bind(asdict(spec), others)


async def _same(app: str, wanted: list[MemberSpec]) -> bool:
    # Handles route in the loop that made them, so they are asked from inside it.
    try:
        async with asyncio.timeout(_ASK_S):
            for spec in wanted:
                handle = serve.get_deployment_handle(spec.name, app_name=app)
                if (await handle.describe.remote())["identity"] != spec.identity:
                    return False
    except (RayError, RayServeException, TimeoutError) as broken:
        _log.info("deploying again: %s", broken)
        return False
    return True


def _gpu() -> bool:
    import torch  # noqa: PLC0415 - only a member with a GPU asks

    return bool(torch.cuda.is_available())


class ServedMembers:
    """Members behind Serve's handles. ``on_retry`` is told of each call that must be made again."""

    def __init__(self, pipeline: Pipeline, on_retry: Callable[[str], None] = lambda _: None) -> None:
        self.on_retry = on_retry
        self._handles = {
            name: serve.get_deployment_handle(name, app_name=pipeline.name) for name in pipeline.ensemble.names
        }

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the member's answer."""
        for attempt in range(_ATTEMPTS):
            try:
                scores, version, busy_s = await self._handles[member].predict.remote(matrix)
                return Answer(np.asarray(scores, dtype=np.float64), version, busy_s)
            except MemberFailed:
                raise
            except RayTaskError as raised:
                raise MemberFailed(f"{member}: {raised.cause!r:.200}") from raised
            except (DeploymentUnavailableError, BackPressureError, RayServeException) as away:
                # Scoring has no memory: asking again is safe, and Serve picks another replica.
                self.on_retry(member)
                if attempt + 1 == _ATTEMPTS:
                    raise Retryable(f"{member} is away: {away}") from away
                await asyncio.sleep(0.01 * 2**attempt)
            except Exception as died:
                # Not the model's: RayActorError, and what gRPC makes of a connection that ends. Whether the replica
                # died of what it was asked is for the guard to find out.
                self.on_retry(member)
                raise MemberDied(f"{member} died: {died!r:.200}") from died
        raise AssertionError("unreachable")
