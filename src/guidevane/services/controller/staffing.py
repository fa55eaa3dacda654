"""Who runs the rooms, and can run more or fewer processes of each: the local supervisor, or Kubernetes."""

from __future__ import annotations

import os
import ssl
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx

from guidevane.errors import Misconfigured, Retryable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from guidevane.services.controller.settings import ControllerSettings

_PATIENCE_S: Final = 3.0
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's service account: ``token``, ``ca.crt``, ``namespace``."""
_KINDS: Final = ("deployments", "statefulsets")
_HELP: Final = "docs/operations/consumers.md has the rules to apply"


class Staffing(Protocol):
    """What runs so many processes of each room."""

    async def consumers(self, rooms: Iterable[str]) -> Mapping[str, int]:
        """Return how many are wanted now, of those of ``rooms`` that it runs.

        Raises ``Retryable``, or ``Misconfigured`` where a person must mend something.
        """
        ...

    async def staff(self, room: str, consumers: int) -> None:
        """Want so many from now on: numbered from 0, the last go first. Raises as ``consumers`` does."""
        ...


class Supervisor:
    """The supervisor of ``guidevane up``, at its door (``guidevane.local.door``)."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def consumers(self, rooms: Iterable[str]) -> Mapping[str, int]:
        """Return what the supervisor has in force."""
        answer = await self._ask("GET", "/rooms")
        try:
            found = answer.json()
            return {name: int(found[name]["consumers"]) for name in rooms if name in found}
        except (ValueError, KeyError, TypeError) as strange:
            raise Retryable(f"the supervisor answered what is no list of rooms: {strange!r:.120}") from strange

    async def staff(self, room: str, consumers: int) -> None:
        """Have processes started, or drained and ended."""
        await self._ask("PUT", f"/rooms/{room}", {"consumers": consumers})

    async def _ask(self, method: str, path: str, body: Mapping[str, int] | None = None) -> httpx.Response:
        answer = await _asked(self._client, "the supervisor", method, path, json=body)
        if answer.status_code in {400, 401, 404}:
            raise Misconfigured(f"the supervisor refused {path} ({answer.status_code}): {answer.text:.300}")
        if not answer.is_success:
            raise Retryable(f"the supervisor failed {path} ({answer.status_code}): {answer.text:.300}")
        return answer


class Kubernetes:
    """The scale sub-resource of each room's Deployment or StatefulSet (apps/v1, autoscaling/v1 Scale).

    ``workload`` is ``<kind>/<name>`` with ``{pipeline}`` and ``{room}`` in it. Of a StatefulSet, pods are numbered and
    keep their names, so that each keeps its place in the group over a restart. A change is refused by Kubernetes where
    somebody else has changed the workload since it was last read: then it is read again, and decided again. The token
    is read anew each time, for Kubernetes changes it.
    """

    def __init__(
        self, client: httpx.AsyncClient, *, pipeline: str, workload: str, namespace: str, token_path: Path
    ) -> None:
        kind, _, name = workload.partition("/")
        try:
            filled = name.format(pipeline=pipeline, room="ROOM")
        except (KeyError, IndexError, ValueError):
            filled = ""
        if kind not in _KINDS or "ROOM" not in filled:
            raise Misconfigured(
                f"GUIDEVANE_KUBERNETES_WORKLOAD={workload} names no room's workload → "
                "write statefulsets/{pipeline}-{room} or deployments/{pipeline}-{room}"
            )
        self._client = client
        self._pipeline = pipeline
        self._kind, self._name, self._namespace = kind, name, namespace
        self._token_path = token_path
        self._versions: dict[str, str] = {}

    async def consumers(self, rooms: Iterable[str]) -> Mapping[str, int]:
        """Return the replicas that each workload's specification has."""
        return {room: await self._read(room) for room in rooms}

    async def staff(self, room: str, consumers: int) -> None:
        """Change the specification, unless somebody else did since it was last read."""
        if room not in self._versions:
            await self._read(room)
        version = self._versions.pop(room)
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": consumers}}
        answer = await self._ask("PATCH", room, patch)
        if answer.status_code == HTTPStatus.CONFLICT:
            raise Retryable(
                f"{self._what(room)} was changed by somebody else since it was read → nothing was changed; it is read "
                "and decided again"
            )
        self._checked(answer, room)

    async def _read(self, room: str) -> int:
        answer = self._checked(await self._ask("GET", room), room)
        try:
            scale = answer.json()
            self._versions[room] = str(scale["metadata"]["resourceVersion"])
            # What is 0 is left out of Kubernetes' JSON.
            return int(scale["spec"].get("replicas", 0))
        except (ValueError, KeyError, TypeError, AttributeError) as strange:
            raise Retryable(f"{self._what(room)}: Kubernetes answered what is no scale: {strange!r:.120}") from strange

    async def _ask(self, method: str, room: str, patch: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            token = self._token_path.read_text(encoding="utf-8").strip()
        except OSError as missing:
            raise Misconfigured(
                f"{self._token_path} cannot be read: {missing.strerror} → give the pod a service account "
                f"(automountServiceAccountToken); {_HELP}"
            ) from missing
        headers = {"Authorization": f"Bearer {token}"}
        if patch is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        name = self._name.format(pipeline=self._pipeline, room=room)
        path = f"/apis/apps/v1/namespaces/{self._namespace}/{self._kind}/{name}/scale"
        return await _asked(self._client, "Kubernetes", method, path, headers=headers, json=patch)

    def _checked(self, answer: httpx.Response, room: str) -> httpx.Response:
        """Return the answer, if it is one. What Kubernetes says stands in its ``message``."""
        status, what = answer.status_code, self._what(room)
        if status == HTTPStatus.UNAUTHORIZED:
            raise Misconfigured(f"{what}: Kubernetes does not take the token of {self._token_path}: {_said(answer)}")
        if status == HTTPStatus.FORBIDDEN:
            raise Misconfigured(
                f"{what}: {_said(answer)} → allow the service account 'get' and 'patch' on {self._kind}/scale; {_HELP}"
            )
        if status == HTTPStatus.NOT_FOUND:
            raise Misconfigured(
                f"{what}: {_said(answer)} → name the workload by GUIDEVANE_KUBERNETES_WORKLOAD, its namespace by "
                "GUIDEVANE_KUBERNETES_NAMESPACE"
            )
        if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise Misconfigured(f"{what}: Kubernetes refused the change: {_said(answer)}")
        if not answer.is_success:
            raise Retryable(f"{what}: Kubernetes failed ({status}): {_said(answer)}")
        return answer

    def _what(self, room: str) -> str:
        return f"{self._kind}/{self._name.format(pipeline=self._pipeline, room=room)} in {self._namespace}"


@asynccontextmanager
async def open_staffing(
    settings: ControllerSettings, pipeline: str, *, account: Path = _ACCOUNT
) -> AsyncIterator[Staffing | None]:
    """Give what runs the rooms, as the settings say; ``None`` where nobody is asked. Raises ``Misconfigured``."""
    if settings.consumers_by == "nobody":
        yield None
    elif settings.consumers_by == "supervisor":
        path = settings.supervisor_token_path
        if path is None or not settings.supervisor_url:
            raise Misconfigured(
                "GUIDEVANE_CONSUMERS_BY=supervisor needs GUIDEVANE_SUPERVISOR_URL and GUIDEVANE_SUPERVISOR_TOKEN_PATH: "
                "`guidevane up` sets all three"
            )
        headers = {"Authorization": f"Bearer {path.read_text(encoding='ascii').strip()}"}
        async with httpx.AsyncClient(base_url=settings.supervisor_url, headers=headers, trust_env=False) as client:
            yield Supervisor(client)
    else:
        async with httpx.AsyncClient(base_url=_api(os.environ), verify=_trusted(account), trust_env=False) as client:
            yield Kubernetes(
                client,
                pipeline=pipeline,
                workload=settings.kubernetes_workload,
                namespace=settings.kubernetes_namespace or _namespace(account),
                token_path=account / "token",
            )


def _api(env: Mapping[str, str]) -> str:
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Misconfigured(
            "GUIDEVANE_CONSUMERS_BY=kubernetes, but KUBERNETES_SERVICE_HOST is not set: that is so outside a pod → "
            "run the controller in the cluster, or set GUIDEVANE_CONSUMERS_BY=nobody"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _trusted(account: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(account / "ca.crt"))
    except (OSError, ssl.SSLError) as missing:
        raise Misconfigured(f"{account / 'ca.crt'} is no certificate: {missing}; {_HELP}") from missing


def _namespace(account: Path) -> str:
    try:
        return (account / "namespace").read_text(encoding="utf-8").strip()
    except OSError as missing:
        raise Misconfigured(
            f"{account / 'namespace'} cannot be read: {missing.strerror} → set GUIDEVANE_KUBERNETES_NAMESPACE"
        ) from missing


async def _asked(client: httpx.AsyncClient, whom: str, method: str, path: str, **asked: Any) -> httpx.Response:
    try:
        return await client.request(method, path, timeout=_PATIENCE_S, **asked)
    except (httpx.HTTPError, OSError) as trouble:
        raise Retryable(f"{whom} does not answer: {trouble!r:.200}") from trouble


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
