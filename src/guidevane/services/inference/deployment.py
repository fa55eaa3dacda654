"""Members on Ray Serve: a deployment for each, or for those that share one, in one application named as the pipeline.

Of the rooms only this file, ``routing.py`` and ``judge.py`` import Ray. Calls go by handle, one a deployment and
micro-batch; Serve's HTTP proxies are not started. Replicas are scaled from outside, by the controller.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from guidevane.clock import SystemClock
from guidevane.errors import Misconfigured, Retryable
from guidevane.services.inference.lanes import Lane
from guidevane.services.inference.members import Answer, MemberDied, MemberFailed, Vectors
from guidevane.services.inference.placing import PLACING, key_of
from guidevane.services.inference.replica import MemberReplica, MemberSpec, Said, identity_of, specs
from guidevane.services.inference.routing import ShortestQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.service import Inference

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
# The room knows deadlines and decides how many calls are under way: Serve is to hold none of them back. At its bound
# it asks replicas how many they have, and one that computes does not answer: each such call waits 0.1 s (forty calls
# against a bound of four fell to 22 a second).
_ONGOING = 64
_ASK_S = 10.0
_UNLOADABLE = re.compile(r"Misconfigured: (member \S+ cannot be loaded: .*)")
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
    try:
        serve.run(
            _bound(*root, gpus, tuple(_bound(*each, gpus) for each in rest)),
            name=app,
            route_prefix=None,
            external_scaler_enabled=True,
            # A line of log for every call costs a replica as much as a small model.
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
    except RuntimeError as failed:
        told = [each.message for each in serve.status().applications[app].deployments.values()]
        if (says := unloadable(told)) is not None:
            raise Misconfigured(says) from failed
        raise


def unloadable(messages: Iterable[str]) -> str | None:
    """Return what a replica said that could not load its member, as Serve passes it on within a traceback.

    >>> unloadable(["", "failed to start 3 times: ... errors.Misconfigured: member m cannot be loaded: OSError()"])
    'member m cannot be loaded: OSError()'
    """
    found = (_UNLOADABLE.search(message) for message in messages)
    return next((each[1].strip() for each in found if each is not None), None)


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


class ServedMembers:
    """Members behind Serve's handles. ``on_retry`` is told of each call that must be made again.

    ``pressed`` tells whether events go without members just now, which replicas are told.
    """

    def __init__(self, pipeline: Pipeline, on_retry: Callable[[str], None] = lambda _: None) -> None:
        self.on_retry = on_retry
        self.pressed: Callable[[], bool] = lambda: False
        deployments = pipeline.ensemble.deployments
        self._handles = {host: serve.get_deployment_handle(host, app_name=pipeline.name) for host in deployments}
        lanes = {host: self._lane(host) for host in deployments}
        self._lanes = {name: lanes[host] for host, names in deployments.items() for name in names}

    def _lane(self, host: str) -> Lane:
        replicas = functools.partial(PLACING.replicas, host)
        return Lane(functools.partial(self._ask, host), SystemClock(), replicas)

    def attend(self, inference: Inference) -> None:
        """Serve this room: take its largest batch and its pressure from it, and tell it how many replicas there are."""
        self.pressed = inference.pressed
        for lane in self._lanes.values():
            lane.most = lambda: inference.knobs.max_batch
        inference.expecting.replicas = PLACING.replicas

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the member's answer."""
        return await self._lanes[member].ask(member, matrix)

    async def _ask(self, host: str, names: tuple[str, ...], matrix: Vectors) -> Mapping[str, Said]:
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
