"""Members on Ray Serve: a deployment for each, or for those that share one, in one application named as the pipeline.

Of the rooms only this file, ``routing.py`` and ``judge.py`` import Ray. Calls go by handle, one a deployment and
micro-batch; Serve's HTTP proxies are not started. Replicas are scaled from outside, by the controller.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from guidevane.errors import Misconfigured, Retryable
from guidevane.services.inference.members import Answer, MemberDied, MemberFailed, Vectors
from guidevane.services.inference.placing import PLACING, key_of
from guidevane.services.inference.replica import MemberReplica, MemberSpec, Said, identity_of, specs
from guidevane.services.inference.routing import ShortestQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.pipeline import Pipeline

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
# The room knows deadlines and decides how many calls are under way: Serve is to hold none of them back. At its bound
# it asks replicas how many they have, and one that computes does not answer: each such call waits 0.1 s (forty calls
# against a bound of four fell to 22 a second).
_ONGOING = 64
_ASK_S = 10.0
ROUTING = RequestRouterConfig(request_router_class=ShortestQueue)


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
    await asyncio.to_thread(_deploy, pipeline.name, wanted, await gpus())


def _status(app: str) -> str | None:
    serve.start(proxy_location="Disabled")
    running = serve.status().applications.get(app)
    return None if running is None else str(running.status.value)


def _deploy(app: str, wanted: Mapping[str, Sequence[MemberSpec]], gpus: float) -> None:
    root, *rest = wanted.items()
    # One application needs one root: the first deployment holds the handles of the others, unused,
    # which spares a replica that would only hold handles.
    serve.run(
        _bound(*root, gpus, tuple(_bound(*each, gpus) for each in rest)),
        name=app,
        route_prefix=None,
        external_scaler_enabled=True,
        # A line of log for every call costs a replica as much as a small model.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )


def _bound(name: str, specs: Sequence[MemberSpec], gpus: float, others: tuple[Any, ...] = ()) -> Any:
    spec = specs[0]
    num_gpus = spec.num_gpus if gpus >= spec.num_gpus else 0.0
    deployment = serve.deployment(MemberReplica).options(
        name=name,
        num_replicas=1,
        max_ongoing_requests=_ONGOING,
        request_router_config=ROUTING,
        ray_actor_options={"num_cpus": spec.num_cpus, "num_gpus": num_gpus},
        # Serve takes three silences in a row for death: a replica that hangs is replaced after some nine seconds.
        health_check_period_s=1,
        health_check_timeout_s=2,
        graceful_shutdown_timeout_s=5,
    )
    return deployment.bind([asdict(each) for each in specs], others)


async def _same(app: str, wanted: Mapping[str, Sequence[MemberSpec]]) -> bool:
    # Handles route in the loop that made them, so they are asked from inside it.
    try:
        async with asyncio.timeout(_ASK_S):
            for name, together in wanted.items():
                if (await describe(app, name))["identity"] != identity_of(together):
                    return False
    except (RayError, RayServeException, TimeoutError) as broken:
        _log.info("deploying again: %s", broken)
        return False
    return True


async def describe(app: str, deployment: str) -> Mapping[str, Any]:
    """Return what one replica of a deployment says of itself (:meth:`MemberReplica.describe`)."""
    return cast("Mapping[str, Any]", await serve.get_deployment_handle(deployment, app_name=app).describe.remote())


async def gpus() -> float:
    """Return how many GPUs the cluster has."""
    return float((await asyncio.to_thread(ray.cluster_resources)).get("GPU", 0.0))


async def remove(app: str) -> None:
    """End an application, replicas and all."""
    await asyncio.to_thread(serve.delete, app)


@dataclass(slots=True, eq=False)
class _Round:
    """One call of a deployment: who asked in it, and how many still wait."""

    names: list[str] = field(default_factory=list)
    waiting: int = 0
    said: asyncio.Task[Mapping[str, Said]] | None = None


class ServedMembers:
    """Members behind Serve's handles. ``on_retry`` is told of each call that must be made again.

    ``pressed`` tells whether events go without members just now, which replicas are told.

    Members that share their replicas and are asked about the same matrix at once are asked in one call.
    """

    def __init__(self, pipeline: Pipeline, on_retry: Callable[[str], None] = lambda _: None) -> None:
        self.on_retry = on_retry
        self.pressed: Callable[[], bool] = lambda: False
        self._hosts = {name: host for host, names in pipeline.ensemble.deployments.items() for name in names}
        self._handles = {
            host: serve.get_deployment_handle(host, app_name=pipeline.name) for host in pipeline.ensemble.deployments
        }
        self._rounds: dict[tuple[str, int], _Round] = {}

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the member's answer."""
        host = self._hosts[member]
        # The matrix lives as long as somebody asks about it, so nothing else has its identity meanwhile.
        key = host, id(matrix)
        together = self._rounds.get(key)
        if together is None:
            together = self._rounds[key] = _Round()
            # Runs after all who ask in this turn of the loop have added their names.
            together.said = asyncio.create_task(self._call(key, together, matrix))
        together.names.append(member)
        together.waiting += 1
        assert together.said is not None  # noqa: S101 - set with the round
        try:
            said = (await asyncio.shield(together.said))[member]
        finally:
            together.waiting -= 1
            if not together.waiting:
                together.said.cancel()
                if self._rounds.get(key) is together:
                    del self._rounds[key]
        if said.scores is None:
            raise MemberFailed(said.failed)
        return Answer(np.asarray(said.scores, dtype=np.float64), said.version, said.busy_s)

    async def _call(self, key: tuple[str, int], together: _Round, matrix: Vectors) -> Mapping[str, Said]:
        host, names = key[0], tuple(together.names)
        # Whoever comes now begins another call.
        del self._rounds[key]
        try:
            return await self._tried(host, names, matrix)
        finally:
            PLACING.over(key_of(host, matrix))

    async def _tried(self, host: str, names: tuple[str, ...], matrix: Vectors) -> Mapping[str, Said]:
        for attempt in range(_ATTEMPTS):
            try:
                said = await self._handles[host].predict.remote(matrix, names, pressed=self.pressed())
                return {name: Said(*each) for name, each in zip(names, said, strict=True)}
            except RayTaskError as raised:
                raise MemberFailed(f"{host}: {raised.cause!r:.200}") from raised
            except (DeploymentUnavailableError, BackPressureError, RayServeException) as away:
                # Scoring has no memory: asking again is safe, and Serve picks another replica.
                self.on_retry(host)
                if attempt + 1 == _ATTEMPTS:
                    raise Retryable(f"{host} is away: {away}") from away
                await asyncio.sleep(0.01 * 2**attempt)
            except Exception as died:
                # Not the model's: RayActorError, and what gRPC makes of a connection that ends. Whether the replica
                # died of what it was asked is for the guard to find out.
                self.on_retry(host)
                raise MemberDied(f"{host} died: {died!r:.200}") from died
        raise AssertionError("unreachable")
