"""Given those who run the rooms, when they are asked for consumers, then they are asked as they want to be."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from certificate import certificate
from guidevane.errors import Misconfigured, Retryable
from guidevane.services.controller.settings import ControllerSettings
from guidevane.services.controller.staffing import open_staffing

PATH = "/apis/apps/v1/namespaces/prod/statefulsets/employment-inference/scale"


class Api(ThreadingHTTPServer):
    """A Kubernetes API server, as far as scales go: versions, bearer tokens, roles, merge patches."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scales: dict[str, dict] = {}
        self.token = "first-token"
        self.verbs = {"get", "patch"}
        self.broken: int | None = None
        self.asked: list[tuple[str, str]] = []

    def add(self, path: str, replicas: int) -> None:
        name = path.split("/")[-2]
        self.scales[path] = {
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name, "resourceVersion": "7"},
            "spec": {"replicas": replicas} if replicas else {}, "status": {"replicas": replicas},
        }  # fmt: skip

    def touch(self, path: str, replicas: int) -> None:
        """Somebody else scales."""
        scale = self.scales[path]
        scale["spec"]["replicas"] = replicas
        scale["metadata"]["resourceVersion"] = str(int(scale["metadata"]["resourceVersion"]) + 1)


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self._serve("get")

    def do_PATCH(self) -> None:
        self._serve("patch")

    def _serve(self, verb: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        api = self.server
        api.asked.append((verb, self.path))
        kind, name = self.path.split("/")[-3:-1]
        if api.broken is not None:
            self._say(api.broken, "InternalError", "etcdserver: leader changed")
        elif self.headers.get("Authorization") != f"Bearer {api.token}":
            self._say(401, "Unauthorized", "Unauthorized")
        elif verb not in api.verbs:
            told = f'{kind}.apps "{name}" is forbidden: cannot {verb} resource "{kind}/scale" in API group "apps"'
            self._say(403, "Forbidden", told)
        elif self.path not in api.scales:
            self._say(404, "NotFound", f'{kind}.apps "{name}" not found')
        elif verb == "get" or self._patched(api.scales[self.path], body):
            self._answer(200, api.scales[self.path])

    def _patched(self, scale: dict, body: bytes) -> bool:
        if self.headers.get("Content-Type") != "application/merge-patch+json":
            self._say(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            return False
        patch = json.loads(body)
        if patch.get("metadata", {}).get("resourceVersion") != scale["metadata"]["resourceVersion"]:
            self._say(409, "Conflict", "the object has been modified; please apply your changes")
            return False
        self.server.touch(self.path, patch["spec"]["replicas"])
        return True

    def _say(self, code: int, reason: str, message: str) -> None:
        self._answer(code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code})

    def _answer(self, code: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    crt, secret = certificate(tmp_path)
    (tmp_path / "token").write_text("first-token\n")
    (tmp_path / "namespace").write_text("prod")
    server = Api()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, secret)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.add(PATH, 2)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
    serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    yield server
    server.shutdown()
    server.server_close()
    serving.join()


def kubernetes(**settings: str) -> ControllerSettings:
    return ControllerSettings(consumers_by="kubernetes", **settings)


async def test_given_a_stateful_set_then_its_scale_is_read_and_patched_through_the_service_account(api, tmp_path):
    async with open_staffing(kubernetes(), "employment", account=tmp_path) as staffing:
        assert await staffing.consumers(["inference"]) == {"inference": 2}
        await staffing.staff("inference", 4)
        assert await staffing.consumers(["inference"]) == {"inference": 4}

    assert api.asked == [("get", PATH), ("patch", PATH), ("get", PATH)]


async def test_given_somebody_else_who_scaled_meanwhile_then_nothing_is_overwritten_and_the_next_try_is_told_the_truth(
    api, tmp_path
):
    async with open_staffing(kubernetes(), "employment", account=tmp_path) as staffing:
        await staffing.consumers(["inference"])
        api.touch(PATH, 6)
        with pytest.raises(Retryable, match=r"statefulsets/employment-inference in prod was changed by somebody else"):
            await staffing.staff("inference", 3)
        assert await staffing.consumers(["inference"]) == {"inference": 6}
        await staffing.staff("inference", 3)

    assert api.scales[PATH]["spec"]["replicas"] == 3


async def test_given_a_role_without_patch_then_the_error_names_what_to_allow(api, tmp_path):
    api.verbs = {"get"}
    async with open_staffing(kubernetes(), "employment", account=tmp_path) as staffing:
        with pytest.raises(Misconfigured) as refused:
            await staffing.staff("inference", 3)

    assert 'cannot patch resource "statefulsets/scale"' in str(refused.value)
    assert "allow the service account 'get' and 'patch' on statefulsets/scale" in str(refused.value)


async def test_given_a_token_that_was_changed_then_the_new_one_is_read_and_an_old_one_is_told(api, tmp_path):
    async with open_staffing(kubernetes(), "employment", account=tmp_path) as staffing:
        await staffing.consumers(["inference"])
        api.token = "second-token"
        with pytest.raises(Misconfigured, match="does not take the token of"):
            await staffing.consumers(["inference"])
        (tmp_path / "token").write_text("second-token")
        assert await staffing.consumers(["inference"]) == {"inference": 2}


async def test_given_a_workload_that_is_not_there_then_the_settings_that_name_it_are_named(api, tmp_path):
    async with open_staffing(kubernetes(kubernetes_namespace="test"), "employment", account=tmp_path) as staffing:
        with pytest.raises(Misconfigured, match=r"not found → name the workload by GUIDEVANE_KUBERNETES_WORKLOAD"):
            await staffing.consumers(["inference"])


async def test_given_a_deployment_that_was_scaled_to_nothing_then_it_has_no_consumers(api, tmp_path):
    api.add("/apis/apps/v1/namespaces/prod/deployments/gv-inference/scale", 0)
    settings = kubernetes(kubernetes_workload="deployments/gv-{room}")
    async with open_staffing(settings, "employment", account=tmp_path) as staffing:
        assert await staffing.consumers(["inference"]) == {"inference": 0}


async def test_given_an_api_server_that_fails_or_is_away_then_it_is_tried_again_later(api, tmp_path):
    async with open_staffing(kubernetes(), "employment", account=tmp_path) as staffing:
        api.broken = 500
        with pytest.raises(Retryable, match="etcdserver: leader changed"):
            await staffing.consumers(["inference"])
        await asyncio.to_thread(api.shutdown)
        api.server_close()
        with pytest.raises(Retryable, match="Kubernetes does not answer"):
            await staffing.consumers(["inference"])


async def test_given_a_server_that_another_authority_vouches_for_then_it_is_not_trusted(api, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    certificate(other)
    (other / "token").write_text("first-token")
    (other / "namespace").write_text("prod")
    async with open_staffing(kubernetes(), "employment", account=other) as staffing:
        with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
            await staffing.consumers(["inference"])

    assert api.asked == []


@pytest.mark.parametrize("workload", ["pods/x-{room}", "statefulsets/one-for-all", "statefulsets/{rooms}", "{room}"])
async def test_given_a_workload_that_names_no_room_then_the_controller_does_not_start(api, tmp_path, workload):
    with pytest.raises(Misconfigured, match="names no room's workload"):
        async with open_staffing(kubernetes(kubernetes_workload=workload), "employment", account=tmp_path):
            pass


async def test_given_no_cluster_then_the_controller_says_where_it_can_run(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Misconfigured, match="outside a pod → run the controller in the cluster"):
        async with open_staffing(kubernetes(), "employment", account=tmp_path):
            pass


async def test_given_nobody_to_ask_then_there_is_nobody() -> None:
    async with open_staffing(SimpleNamespace(consumers_by="nobody"), "employment") as staffing:
        assert staffing is None
