"""A real Ray with Serve: the token holds, replicas scale from outside, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from guidevane.local.endpoints import down
from guidevane.local.process import MARK
from guidevane.local.ray import LocalRay
from guidevane.local.ray_files import session_dir

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

READY_WITHIN_S = 180.0

DEPLOY = """
import asyncio, ray
from ray import serve

@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0.1})
class Echo:
    def __init__(self):
        import authors_own_module
        self.word = authors_own_module.WORD

    async def __call__(self, x):
        return f"{self.word} {x}"

async def call(handle):
    # The throughput flag makes handles need a running event loop.
    return await handle.remote("you")

ray.init(log_to_driver=False)
serve.start(proxy_location="Disabled")
handle = serve.run(Echo.bind(), name="app", route_prefix=None, external_scaler_enabled=True)
print(asyncio.run(call(handle)))
"""


@pytest.fixture
async def ray(tmp_path: Path) -> AsyncIterator[LocalRay]:
    (tmp_path / "author").mkdir()
    (tmp_path / "author" / "authors_own_module.py").write_text("WORD = 'hello'\n")
    local = LocalRay(tmp_path, pythonpath=[str(tmp_path / "author")], die_with_parent=True)
    try:
        await local.start()
        await local.wait_ready(READY_WITHIN_S)
        yield local
    finally:
        await local.stop()


def processes_of(state_dir: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(state_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def listening(processes: list[psutil.Process]) -> set[str]:
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


async def python(code: str, env: dict[str, str]) -> str:
    """Run ``code`` as a client; in a process of its own, for importing Ray would change this one."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={**os.environ, **env}, stdout=subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert child.returncode == 0
    return output.decode()


async def test_an_authors_deployment_scales_from_outside_and_only_for_the_token(ray: LocalRay, tmp_path: Path) -> None:
    assert ray.token_path.stat().st_mode & 0o777 == 0o600
    assert (await python(DEPLOY, ray.env())).splitlines()[-1] == "hello you"
    scale = f"{ray.dashboard}/api/v1/applications/app/deployments/Echo/scale"
    async with httpx.AsyncClient(timeout=60) as client:
        assert (await client.post(scale, json={"target_num_replicas": 3})).status_code == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert (await client.post(scale, json={"target_num_replicas": 3}, headers=wrong)).status_code == 403
        answer = await client.post(scale, json={"target_num_replicas": 2}, headers=ray.headers())
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(120):
            while True:
                answer = await client.get(f"{ray.dashboard}/api/serve/applications/", headers=ray.headers())
                deployment = answer.json()["applications"]["app"]["deployments"]["Echo"]
                if [replica["state"] for replica in deployment["replicas"]] == ["RUNNING", "RUNNING"]:
                    break
                await asyncio.sleep(0.2)
        assert answer.json()["proxies"] == {}, "no HTTP proxy, no port 8000"

    running = processes_of(tmp_path)
    replicas = [process for process in running if "ServeReplica" in "".join(process.cmdline())]
    assert len(replicas) == 2
    # Serve binds a replica's gRPC port to every address, and asks for the token there.
    assert listening([process for process in running if process not in replicas]) == {"127.0.0.1"}

    await ray.stop()
    assert processes_of(tmp_path) == []
    assert not session_dir(tmp_path).exists()
    assert list((tmp_path / "logs" / "ray").glob("serve/*Echo*.log")), "the replicas' logs are kept"


RUNNER = """
import asyncio, sys
from pathlib import Path
from guidevane.local.ray import LocalRay

async def main():
    ray = LocalRay(Path(sys.argv[1]), die_with_parent=True)
    await ray.start()
    await ray.wait_ready(180)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
async def test_all_of_it_dies_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    runner = await asyncio.create_subprocess_exec(sys.executable, "-c", RUNNER, str(tmp_path), stdout=subprocess.PIPE)
    assert runner.stdout is not None
    assert await runner.stdout.readline() == b"ready\n"
    assert processes_of(tmp_path)
    runner.send_signal(signal.SIGKILL)
    await runner.wait()
    async with asyncio.timeout(30):
        while processes_of(tmp_path):
            await asyncio.sleep(0.1)
    assert session_dir(tmp_path).exists(), "nobody was left to remove it"
    assert down(tmp_path) == [f"nothing runs under {tmp_path}"]
    assert not session_dir(tmp_path).exists()
