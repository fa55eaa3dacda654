"""The whole platform on one machine: Kafka, Ray, and every room of one pipeline in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from guidevane.errors import Misconfigured
from guidevane.loading import full_reference, load_pipeline
from guidevane.local.endpoints import Endpoints, claim
from guidevane.local.identity import identity
from guidevane.local.kafka import Detour, LocalKafka
from guidevane.local.machine import machine_settings
from guidevane.local.ports import free_ports
from guidevane.local.process import Progress, silent
from guidevane.local.ray import LocalRay
from guidevane.local.secret import new_token
from guidevane.local.supervisor import Change, Child, Patience, State, Supervisor
from guidevane.local.warm import warm_up

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping
    from types import TracebackType
    from typing import Any, Self

    from guidevane.local.server import LocalServer
    from guidevane.pipeline import Mode

Rooms = Literal["apart", "fused"]
V = TypeVar("V")

_HOT = ("ingest", "preprocess", "inference", "postprocess")
_BESIDE = ("monitors", "controller", "admin")
_READY_WITHIN_S = 240.0
_BESIDE_NICENESS = 10
# In a row, with growing pauses: some two minutes.
_SERVER_FAILURES = 10


def rooms_of(rooms: Rooms, without: Collection[str] = ()) -> tuple[str, ...]:
    """Return the processes that run, in the order in which they are stopped: who takes events in goes first.

    ``without`` names rooms beside the way that shall not run. Raises ``Misconfigured`` for any other name.

    >>> rooms_of("fused", without=["monitors"])
    ('fused', 'controller', 'admin')
    """
    for name in without:
        if name not in _BESIDE:
            raise Misconfigured(f"no pipeline runs without '{name}' → {', '.join(_BESIDE)} can be left out")
    return (("fused",) if rooms == "fused" else _HOT) + tuple(name for name in _BESIDE if name not in without)


@dataclass(slots=True)
class _Given:
    """What the environment names instead of what would be started."""

    kafka: str | None = field(default_factory=lambda: os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    ray: str | None = field(default_factory=lambda: os.environ.get("RAY_ADDRESS"))
    ray_dashboard: str = field(
        default_factory=lambda: os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")
    )


class Platform:
    """A pipeline running on this machine, from ``async with`` to its end.

    ``KAFKA_BOOTSTRAP_SERVERS`` and ``RAY_ADDRESS`` name real clusters to use instead of local ones.
    Everything that it starts dies with it, even by ``kill -9``; its data stay in ``state_dir``.
    With a ``detour`` the rooms reach the local Kafka through whatever listens there.
    """

    def __init__(
        self,
        reference: str,
        *,
        state_dir: Path,
        rooms: Rooms = "fused",
        without: Collection[str] = (),
        delivery: Mode | None = None,
        progress: Progress = silent,
        detour: Detour | None = None,
    ) -> None:
        # Loaded before anything starts: a mistake in it must not cost a minute.
        self.reference = full_reference(reference)
        self.pipeline = load_pipeline(reference)
        self.state_dir = state_dir.resolve()
        self.rooms: Rooms = rooms
        self.names = rooms_of(rooms, without)
        self.delivery: Mode | str = delivery or os.environ.get("GUIDEVANE_DELIVERY") or self.pipeline.delivery
        self._progress = progress
        self._detour = detour
        self._shared: dict[str, str] = {}
        self._given = _Given()
        self._open = AsyncExitStack()
        self._supervisor: Supervisor | None = None
        self._kafka: LocalKafka | None = None
        self._ray: LocalRay | None = None
        self._written: Endpoints | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def watch(self) -> None:
        """Keep everything going; return when it was stopped.

        A room, the broker or Ray that dies is started again. Raises ``Misconfigured``, with the end of its log, where
        one is given up.
        """
        assert self._supervisor is not None  # noqa: S101 - narrows the type: watched from inside ``async with``
        try:
            async with asyncio.TaskGroup() as together:
                together.create_task(self._supervisor.watch())
                for server in (self._kafka, self._ray):
                    if server is not None:
                        together.create_task(self._keep(server))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def restart(self, room: str, **settings: str) -> None:
        """Let a room drain and start it again, with these settings added to its own; return at once.

        They hold until the next restart: one without settings takes them back.
        """
        assert self._supervisor is not None  # noqa: S101 - narrows the type, as above
        await self._supervisor.restart(room, settings)

    def another(self, room: str, instance: str, *, name: str | None = None, **settings: str) -> Child:
        """Return one more member for a room's group, to be started by whoever asks: it is not supervised."""
        child = self._child(room, free_ports(1)[0], self._shared)
        own = {"GUIDEVANE_INSTANCE": instance, "GUIDEVANE_HTTP_PORT": "0", **settings}
        log_path = self.state_dir / "logs" / f"{name or instance}.log"
        return replace(child, name=name or instance, log_path=log_path, env={**child.env, **own})

    def _further(self, room: str, number: int) -> Child:
        """Return number ``number`` of a room, counted from 0: the one that keeps that place in the room's group."""
        return self.another(room, self._instance(room, number), name=f"{room}-{number}")

    def _instance(self, room: str, number: int) -> str:
        """Return by what a room goes in its group, and in telemetry; the number comes last, for it tells who leaves."""
        return f"{self.pipeline.name}-{room}-{identity(self.state_dir)}-{number}"

    async def _keep(self, server: LocalServer) -> None:
        """Start a server again that died, where it was before; what keeps it from starting may pass (a full disk)."""
        failures = 0
        while True:
            try:
                await server.watch()
            except Misconfigured as died:
                if failures >= _SERVER_FAILURES:
                    raise
                self._progress(f"{server.name}: died, starting again", None)
                await asyncio.sleep(Patience(first_s=1.0).delay_s(failures) if failures else 0.0)
                try:
                    await server.start()
                    await server.wait_ready()
                except Misconfigured:
                    failures += 1
                    if failures >= _SERVER_FAILURES:
                        raise died from None
                else:
                    failures = 0
                    self._save_endpoints()
            else:
                return

    @property
    def endpoints(self) -> Endpoints:
        """Return where everything listens, as written to ``endpoints.json``."""
        return Endpoints.load(self.state_dir)

    async def _start(self) -> None:
        self._open.enter_context(claim(self.state_dir))
        (self.state_dir / "logs").mkdir(parents=True, exist_ok=True)
        kafka, ray = self._kafka, self._ray = self._servers()
        starting = [each.start() for each in (kafka, ray) if each is not None]
        for each in (kafka, ray):
            if each is not None:
                self._open.push_async_callback(each.stop)
        await asyncio.gather(*starting)
        bootstrap = kafka.bootstrap if kafka is not None else str(self._given.kafka)
        beside = f"127.0.0.1:{self._detour.advertised}" if self._detour is not None else bootstrap
        ray_env = ray.env() if ray is not None else {}
        dashboard = ray.dashboard if ray is not None else self._given.ray_dashboard
        # Rooms wait for Kafka and Ray by themselves, and import what they need meanwhile.
        names = self.names
        ports = dict(zip((*names, "http", "admin http", "crew"), free_ports(len(names) + 3), strict=True))
        hot = [name for name in names if name not in _BESIDE]
        token_path = self.state_dir / "supervisor.token"
        token = new_token(token_path)
        shared = self._shared = {
            "KAFKA_BOOTSTRAP_SERVERS": beside,
            "GUIDEVANE_PIPELINE": self.reference,
            "GUIDEVANE_RAY_DASHBOARD": dashboard,
            "GUIDEVANE_DELIVERY": self.delivery,
            "GUIDEVANE_HTTP_PORT": str(ports["http"]),
            "GUIDEVANE_ADMIN_PORT": str(ports["admin http"]),
            "GUIDEVANE_SUPERVISOR_URL": f"http://127.0.0.1:{ports['crew']}",
            "GUIDEVANE_SUPERVISOR_TOKEN_PATH": str(token_path),
            **machine_settings(rooms=len(hot)),
            **ray_env,
        }
        supervisor = Supervisor(
            [self._child(name, ports[name], shared) for name in names],
            state_dir=self.state_dir,
            on_change=self._changed,
            die_with_parent=True,
        )
        if kafka is not None:
            await kafka.wait_ready()
        supervisor.start()
        self._supervisor = supervisor
        self._open.push_async_callback(supervisor.stop)
        # Half a second of imports, while the rooms do theirs.
        from guidevane.local.crew import Crew, open_door  # noqa: PLC0415

        await self._open.enter_async_context(open_door(Crew(supervisor, hot, self._further), token, ports["crew"]))
        warming = asyncio.create_task(warm_up(bootstrap)) if kafka is not None else None
        await self._while_served(self._rooms_ready(supervisor))
        if warming is not None:
            await warming
        self._written = Endpoints(
            kafka=bootstrap,
            admin=f"http://127.0.0.1:{ports['admin http']}",
            ingest=f"http://127.0.0.1:{ports['http']}",
            ray=ray.address if ray is not None else str(self._given.ray),
            ray_dashboard=dashboard,
            metrics=self._by_room({name: f"http://127.0.0.1:{ports[name]}/metrics" for name in names}),
            pids={},
            supervisor_pid=os.getpid(),
            state_dir=str(self.state_dir),
        )
        self._save_endpoints()
        self._open.callback(self._remove_endpoints)

    async def _rooms_ready(self, supervisor: Supervisor) -> None:
        if self._ray is not None:
            await self._ray.wait_ready(timeout_s=120.0)
        await supervisor.wait_ready(_READY_WITHIN_S)

    async def _while_served(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do it while Kafka and Ray live: rooms wait for one that has ended as for one that is about to answer."""
        working = asyncio.create_task(doing)
        watching = [asyncio.create_task(each.watch()) for each in (self._kafka, self._ray) if each is not None]
        try:
            await asyncio.wait({working, *watching}, return_when=asyncio.FIRST_COMPLETED)
            for ended in watching:
                if ended.done():
                    ended.result()
            await working
        finally:
            for task in (working, *watching):
                task.cancel()
            await asyncio.gather(working, *watching, return_exceptions=True)

    def _remove_endpoints(self) -> None:
        self._written = None
        Endpoints.remove(self.state_dir)

    def _by_room(self, found: dict[str, V]) -> dict[str, V]:
        """Return the same with each room of a fused process by its own name too: who asks for a room, finds it."""
        return found | (dict.fromkeys(_HOT, found["fused"]) if "fused" in found else {})

    def _save_endpoints(self) -> None:
        if self._written is not None and self._supervisor is not None:
            servers = {"kafka": self._kafka, "ray": self._ray}
            pids = {name: each.pid for name, each in servers.items() if each is not None and each.pid is not None}
            pids |= self._by_room(self._supervisor.pids())
            self._written.model_copy(update={"pids": pids}).save(self.state_dir)

    def _servers(self) -> tuple[LocalKafka | None, LocalRay | None]:
        kafka = ray = None
        if self._given.kafka is None:
            kafka = LocalKafka(self.state_dir, detour=self._detour, die_with_parent=True, progress=self._progress)
        if self._given.ray is None:
            # Replicas must find the author's module where we found it.
            ray = LocalRay(self.state_dir, pythonpath=[str(Path.cwd())], die_with_parent=True, progress=self._progress)
        return kafka, ray

    def _child(self, name: str, port: int, shared: Mapping[str, str]) -> Child:
        url = f"http://127.0.0.1:{port}"
        return Child(
            name=name,
            argv=(sys.executable, "-m", f"guidevane.services.{name}"),
            log_path=self.state_dir / "logs" / f"{name}.log",
            env={
                **shared,
                "GUIDEVANE_INSTANCE": self._instance(name, 0),
                "GUIDEVANE_METRICS_PORT": str(port),
                # Where cores are few, whoever is not on an event's way waits for those who are.
                "GUIDEVANE_NICENESS": str(_BESIDE_NICENESS if name in _BESIDE else 0),
            },
            health_url=f"{url}/livez",
            ready_url=f"{url}/readyz",
        )

    def _changed(self, change: Change) -> None:
        if change.state is State.DIED:
            self._progress(f"{change.child}: died ({change.status}), starting again", None)
        elif change.state is State.GIVEN_UP:
            self._progress(f"{change.child}: given up, see logs/{change.child}.log", None)
        elif change.state is State.WAITING:
            self._progress(f"{change.child}: waiting: {change.why}", None)
        else:
            self._progress(f"{change.child}: {change.state}", 1.0 if change.state is State.READY else None)
            # A room that was started again is another process.
            self._save_endpoints()
