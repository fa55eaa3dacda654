"""One node of the real Apache Kafka (KRaft: broker and controller in one JVM), started from its jars."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import uuid
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from guidevane.errors import Misconfigured
from guidevane.local import jars
from guidevane.local.java import Java, find_java
from guidevane.local.ports import free_ports, is_free
from guidevane.local.process import Progress, silent, spawn
from guidevane.local.server import LocalServer

_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
_FORMAT_WITHIN_S = 120.0
# With the 140 partitions of one pipeline and of its own it held 242; too few end it. The doctor says 1,024, too.
_OPEN_FILES = 1024

# One node, a few dozen partitions, two cores shared with everything else. What is not said here is Kafka's default.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A misspelt topic must fail, not appear.
    "auto.create.topics.enable": "false",
    # There is one node to hold a replica.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Every partition of an internal topic is files and start-up time.
    "offsets.topic.num.partitions": "12",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # Nobody waits for a second consumer to join, and a killed consumer is noticed in seconds.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "2000",
    # After kill -9 the node's own session must run out before the controller lets it register again: with the
    # default 9 s a restart takes 13 s, with this 8.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # Disk, per partition. A laptop's history: a day, or 256 MiB.
    "log.retention.hours": "24",
    "log.retention.bytes": str(256 * 2**20),
    "log.segment.bytes": str(64 * 2**20),
    "log.index.size.max.bytes": str(2 * 2**20),
    "message.max.bytes": str(4 * 2**20),
    # The cleaner's map is taken from the heap at the start (default 128 MiB); compacted topics are tiny here.
    "log.cleaner.dedupe.buffer.size": str(8 * 2**20),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
}

# What an operator of several brokers should set, too (docs/operations/cluster.md).
_REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # Leaders are home again, and what retention takes is gone, while somebody looks: Kafka's 300 s outlast a drill.
    "leader.imbalance.check.interval.seconds": "5",
    "log.retention.check.interval.ms": "5000",
}


@dataclass(frozen=True, slots=True)
class Detour:
    """A second way to the broker: it listens at ``port`` and says that it is to be found at ``advertised``.

    Whatever listens at ``advertised`` and passes on to ``port`` has every client that came that way in its hand.
    """

    port: int
    advertised: int


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a node takes clients, and where the other voters find it."""

    broker: int
    controller: int


@dataclass(frozen=True, slots=True)
class Seat:
    """A node's place in a cluster of several: each of them is broker and voter, and none is without the others.

    ``ports`` are those of all nodes, the first one's first; ``number`` counts from 1.
    """

    number: int
    cluster_id: str
    ports: tuple[Ports, ...]

    @property
    def settings(self) -> dict[str, str]:
        """Return what differs from a node that is alone: three replicas, of which two must have a record."""
        voters = (f"{number}@127.0.0.1:{each.controller}" for number, each in enumerate(self.ports, start=1))
        return {
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(voters),
            **_REPLICATED,
        }


class LocalKafka(LocalServer):
    """A broker whose data live in ``state_dir/kafka`` and whose log is ``state_dir/logs/kafka.log``.

    It binds 127.0.0.1 only. A restart on the same ``state_dir`` keeps the data and the ports.

    Args:
        state_dir: The directory of this platform instance; made if missing.
        heap: The JVM's heap, smallest and largest.
        detour: A second listener, for clients that reach the broker through something.
        seat: The node's place among several, which are started together: none serves without a majority.
        long_lived: Compile for speed: dear for a minute, cheaper ever after. Else for a quick start.
        die_with_parent: Have the kernel kill the broker when this process ends, even by ``kill -9`` (Linux).
        progress: Told what is under way.
    """

    name = "Kafka"

    def __init__(
        self,
        state_dir: Path,
        *,
        heap: tuple[str, str] = ("256m", "512m"),
        detour: Detour | None = None,
        seat: Seat | None = None,
        long_lived: bool = False,
        die_with_parent: bool = False,
        progress: Progress = silent,
    ) -> None:
        super().__init__(state_dir, die_with_parent=die_with_parent, progress=progress)
        self._home = self._state_dir / "kafka"
        self._heap = heap
        self._detour = detour
        self._seat = seat
        self._long_lived = long_lived
        self._ports: Ports | None = None

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:PORT``, known once ``start`` has returned."""
        if self._ports is None:
            raise RuntimeError("the local Kafka has no port before it is started")
        return f"127.0.0.1:{self._ports.broker}"

    @override
    async def start(self) -> None:
        """Fetch what is missing, format the storage of a new ``state_dir``, start the JVM; do not wait for it.

        Raises:
            Misconfigured: no Java, no jars, the ports of this ``state_dir`` are taken, or it cannot be formatted.
        """
        self._refuse_if_running()
        _check_open_files()
        self._progress("Kafka: looking for its jars", None)
        java, classpath = await asyncio.gather(
            asyncio.to_thread(find_java), asyncio.to_thread(jars.classpath, self._progress)
        )
        self._ports = self._claim_ports()
        settings = self._write_settings(self._ports)
        if not self._formatted:
            self._progress("Kafka: formatting its storage", None)
            await self._format(_command(java, classpath, ("64m", "128m")), settings)
        self._progress("Kafka: starting", None)
        command = _command(java, classpath, self._heap, long_lived=self._long_lived)
        self._run([*command, "kafka.Kafka", str(settings)])

    @override
    async def _serves(self) -> bool:
        # Said after the node has left fencing and answers requests; a TCP connection succeeds long before.
        return self._logged(b"Kafka Server started")

    @property
    def _formatted(self) -> bool:
        return (self._home / "data" / "meta.properties").exists()

    def _claim_ports(self) -> Ports:
        """Return the ports of this state directory, drawn once and kept: clients and the voter set remember them."""
        kept = self._home / "ports.json"
        if not self._formatted:
            ports = self._seat.ports[self._seat.number - 1] if self._seat is not None else Ports(*free_ports(2))
            self._home.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({"broker": ports.broker, "controller": ports.controller}), encoding="utf-8")
            return ports
        try:
            ports = Ports(**json.loads(kept.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as damaged:
            raise Misconfigured(
                f"{kept} is damaged ({damaged}) → write its two ports there again, as they stand under listeners in "
                f'{self._home / "server.properties"}: {{"broker": PLAINTEXT, "controller": CONTROLLER}}'
            ) from damaged
        for port in (ports.broker, ports.controller):
            if not is_free(port):
                raise Misconfigured(
                    f"port {port}, which the Kafka in {self._state_dir} keeps, is taken. If it runs already, end it "
                    f"with `guidevane down --state-dir {self._state_dir}`; else choose another state directory."
                )
        return ports

    def _write_settings(self, ports: Ports) -> Path:
        listeners = f"PLAINTEXT://127.0.0.1:{ports.broker},CONTROLLER://127.0.0.1:{ports.controller}"
        advertised, protocols = listeners, _SETTINGS["listener.security.protocol.map"]
        if self._detour is not None:
            listeners += f",DETOUR://127.0.0.1:{self._detour.port}"
            advertised += f",DETOUR://127.0.0.1:{self._detour.advertised}"
            protocols += ",DETOUR:PLAINTEXT"
        alone = {"controller.quorum.bootstrap.servers": f"127.0.0.1:{ports.controller}"}
        settings = _SETTINGS | {
            "listeners": listeners,
            "advertised.listeners": advertised,
            "listener.security.protocol.map": protocols,
            "log.dirs": str(self._home / "data"),
            **(self._seat.settings if self._seat is not None else alone),
        }
        path = self._home / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        return path

    async def _format(self, java: list[str], settings: Path) -> None:
        tool = [*java, "kafka.tools.StorageTool", "format"]
        named = (
            ["--cluster-id", self._seat.cluster_id]
            if self._seat is not None
            else ["--standalone", "--cluster-id", new_cluster_id()]
        )
        child = spawn(
            [*tool, *named, "--config", str(settings)],
            state_dir=self._state_dir,
            log_path=self.log_path,
            die_with_parent=self._die_with_parent,
        )
        try:
            status = await asyncio.to_thread(child.wait, _FORMAT_WITHIN_S)
        except BaseException:
            child.kill()
            child.wait()
            raise
        if status:
            raise self._failure(f"could not format {self._home / 'data'} (status {status})")


def _check_open_files() -> None:
    """Raise ``Misconfigured`` where a broker would end at its first topics, and say of it what nobody understands."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < _OPEN_FILES:
        raise Misconfigured(
            f"a process may open {most} files here, and Kafka wants {_OPEN_FILES} or more → ulimit -n 65536 "
            "(docker run --ulimit nofile=65536), or a real cluster: KAFKA_BOOTSTRAP_SERVERS"
        )


def _command(java: Java, classpath: list[Path], heap: tuple[str, str], *, long_lived: bool = False) -> list[str]:
    smallest, largest = heap
    command = [
        str(java.path),
        f"-Xms{smallest}",
        f"-Xmx{largest}",
        # With half a gigabyte on two cores: as quick as G1, without its threads.
        "-XX:+UseSerialGC",
        # The optimising compiler takes a fifth of a core for minutes, to make a broker faster that is
        # hardly busy; on two cores that is time the rooms need.
        *(() if long_lived else ("-XX:TieredStopAtLevel=1",)),
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={_LOG_SETTINGS}",
    ]
    if java.major >= 24:  # noqa: PLR2004 - where Java began to warn of what zstd and Kafka itself do
        command += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return [*command, "-cp", os.pathsep.join(map(str, classpath))]


def new_cluster_id() -> str:
    """Return a name that no cluster has yet."""
    while True:
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The tool would take a leading dash for an option.
        if not name.startswith("-"):
            return name
