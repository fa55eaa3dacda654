"""A local Ray with what Serve needs and little else, open to this machine and to the holder of a token."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from typing_extensions import override

from guidevane.local.ports import free_ports
from guidevane.local.process import Progress, end_all, in_session, silent
from guidevane.local.ray_files import keep_logs, make_private, session_dir
from guidevane.local.secret import new_token
from guidevane.local.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = Path(__file__).with_name("ray_head.py")
_ASK_TIMEOUT_S = 30.0
_SWEEP_GRACE_S = 3.0

# The same on both sides of every connection: the head and its workers, the rooms and the tests.
_SHARED = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray names it for macOS and Windows; what it does, everywhere, is to use 127.0.0.1 for the node. Without it
    # `--node-ip-address=127.0.0.1` is replaced by the address of the network card, and every port is open to it.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # The gRPC data plane: a round of three member calls falls from 16 ms of the caller's CPU to 5.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # That also turns on direct ingress: an HTTP port per replica, and a proxy on port 8000 even where
    # `serve.start(proxy_location="Disabled")` asks for none. Replicas are called by handle here.
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
}
_HEAD_ONLY = {
    # Ray runs its workers at niceness 15, for the sake of its own daemons. Here the replicas stand on every
    # event's way, beside a broker and rooms at 0, which would take the cores from them.
    "RAY_worker_niceness": "0",
    # Else the first driver starts a worker for each of the many logical CPUs, two seconds of CPU time each.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    # For the agents to say that they are there; the default is 30 s.
    "RAY_agent_register_timeout_ms": "120000",
    # An event per task, for a dashboard page that is not loaded.
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    # On SIGTERM the head would wait 30 s for proxies to leave; the rooms that call replicas have stopped before.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # A replica that does not answer its health check will not hear a request to leave either.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    # Ten times a second, Serve's controller takes a twentieth of a core to see that nothing changed.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    # A dead proxy is replaced after 5 s instead of 30, where someone starts one.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "1",
}


@dataclass(frozen=True, slots=True)
class _Ports:
    gcs: int
    dashboard: int
    agent_http: int
    agent_grpc: int
    runtime_env: int
    metrics_export: int
    dashboard_metrics: int


class LocalRay(LocalServer):
    """A Ray head on 127.0.0.1, in token mode, on ports of its own; several can run side by side.

    One thing listens on other addresses too: Serve binds a replica's gRPC port to ``[::]``, and has no
    setting for it. It answers to the token only.

    Its log is ``state_dir/logs/ray.log``; when it has stopped, the logs of its parts, replicas among
    them, lie in ``state_dir/logs/ray``. Nothing else is kept: a restart is a new Ray, at the same
    addresses and with the same token, so that whoever knew the old one finds it; its REST API is
    there some time after its replicas, which events wait for.

    Args:
        state_dir: The directory of this platform instance; made if missing.
        pythonpath: Where the workers find the authors' own modules, before anything else.
        num_cpus: Logical CPUs, by which replicas are placed, not limited: generous, so that fractions fit.
        object_store_bytes: Shared memory for large objects; calls with micro-batches hardly use it.
        die_with_parent: Have all of it killed when this process ends, even by ``kill -9`` (Linux).
        progress: Told what is under way.
    """

    name = "Ray"

    def __init__(
        self,
        state_dir: Path,
        *,
        pythonpath: Sequence[str] = (),
        num_cpus: int = 32,
        object_store_bytes: int = 200_000_000,
        die_with_parent: bool = False,
        progress: Progress = silent,
    ) -> None:
        super().__init__(state_dir, die_with_parent=die_with_parent, progress=progress)
        self._pythonpath = tuple(pythonpath)
        self._num_cpus = num_cpus
        self._object_store_bytes = object_store_bytes
        self._ports: _Ports | None = None
        self._led: int | None = None
        self.token_path = self._state_dir / "ray" / "token"

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``, for ``RAY_ADDRESS``; known once ``start`` has returned."""
        return f"127.0.0.1:{self._known_ports().gcs}"

    @property
    def dashboard(self) -> str:
        """``http://127.0.0.1:PORT``, below which Serve's REST API lies; known once ``start`` has returned."""
        return f"http://127.0.0.1:{self._known_ports().dashboard}"

    def env(self) -> dict[str, str]:
        """Return what a client process needs in its environment before it imports Ray."""
        return _SHARED | {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
        }

    def headers(self) -> dict[str, str]:
        """Return the headers that the REST API asks for."""
        return {"Authorization": f"Bearer {self.token_path.read_text(encoding='ascii')}"}

    @override
    async def start(self) -> None:
        """Draw ports and a token and start the head; do not wait for it.

        Raises:
            Misconfigured: the directory for Ray's sockets belongs to somebody else.
        """
        self._refuse_if_running()
        self._progress("Ray: starting", None)
        if self._ports is None:
            self._ports = _Ports(*free_ports(len(fields(_Ports))))
            new_token(self.token_path)
        ports = self._ports
        first = ("--replicas-first",) if self._led is not None else ()
        if self._led is not None:
            # A head that was killed leaves agents and replicas behind; they are found by the session that it led.
            await asyncio.to_thread(end_all, in_session(self._led), grace_s=0.0)
        sockets = session_dir(self._state_dir)
        make_private(sockets)
        # -P: else the script's directory comes first, and `import ray` finds this very file.
        argv = [
            *(sys.executable, "-P", str(_HEAD), *first, "start", "--head", "--block"),
            *("--disable-usage-stats", "--log-color=false"),
            *("--node-ip-address=127.0.0.1", f"--port={ports.gcs}", f"--temp-dir={sockets}"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={ports.dashboard}"),
            # Ports that are not said are chosen by the agents, and the raylet waits 15 s for that (see ray_head.py).
            *(f"--dashboard-agent-listen-port={ports.agent_http}", f"--dashboard-agent-grpc-port={ports.agent_grpc}"),
            *(f"--runtime-env-agent-port={ports.runtime_env}", f"--metrics-export-port={ports.metrics_export}"),
            # Each worker takes a free port; Ray's default is the range 10002-19999, with or without somebody there.
            *("--min-worker-port=0", "--max-worker-port=0"),
            *(f"--num-cpus={self._num_cpus}", f"--object-store-memory={self._object_store_bytes}"),
            # The autoscaler, for one node that cannot grow; and the tail of every worker's output to every driver.
            *("--no-monitor", "--include-log-monitor=False"),
        ]
        path = os.pathsep.join([*self._pythonpath, *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"PYTHONPATH": path, "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics)}
        self._run(argv, env=_HEAD_ONLY | self.env() | own, with_session=True)
        self._led = self.pid

    @override
    async def _serves(self) -> bool:
        if not self._logged(b"Ray runtime started"):
            return False
        # The API's own process becomes a driver on its first call, which takes seconds: let it be this one.
        url = f"{self.dashboard}/api/serve/applications/"
        async with httpx.AsyncClient(headers=self.headers(), timeout=_ASK_TIMEOUT_S) as client:
            try:
                answer = await client.get(url)
            except httpx.TransportError:
                return False
        return answer.is_success

    @override
    async def stop(self, *, grace_s: float = 15.0) -> None:
        """End Ray and everything that it started; its logs are moved to ``state_dir/logs/ray``."""
        if self._process is None:
            return
        session = self._process.pid
        await super().stop(grace_s=grace_s)
        # Ray's agents sometimes survive their raylet. They are found by the session that the head has led.
        await asyncio.to_thread(end_all, in_session(session), grace_s=_SWEEP_GRACE_S)
        await asyncio.to_thread(keep_logs, self._state_dir)

    def _known_ports(self) -> _Ports:
        if self._ports is None:
            raise RuntimeError("the local Ray has no ports before it is started")
        return self._ports
