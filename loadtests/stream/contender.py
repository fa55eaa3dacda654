"""Who is measured: how each is started, which topics it reads and writes, and how it is ended."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from guidevane.local.process import end, end_all, last_lines, spawn
from guidevane.pipelines.employment import pipeline
from guidevane.topics import Topics
from loadtests.stream import processes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".guidevane" / "peers"
_START_S = 240.0


class Failed(Exception):
    """A contender could not be measured; the message says why, with the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the work.

    ``module`` is run with the topics as arguments, in the environment of ``peer`` where it has one of its own;
    where ``rooms`` is said, it is our platform. ``burst`` is how many events it is given at once to drain. Among
    its ``options``, ``--whole`` is to do the whole work of our hot path, on as many topics.
    """

    name: str
    about: str
    module: str = ""
    options: tuple[str, ...] = ()
    peer: str = ""
    rooms: str = ""
    without: tuple[str, ...] = ()
    burst: int = 30_000
    decides: bool = True

    @property
    def ours(self) -> bool:
        """Tell whether this is our platform."""
        return bool(self.rooms)

    @property
    def whole(self) -> bool:
        """Tell whether it does the whole work of our hot path."""
        return "--whole" in self.options

    @property
    def topics(self) -> Topics:
        """The names of its topics."""
        return pipeline.topics if self.ours else Topics(self.name)

    @property
    def events(self) -> str:
        """The topic that it reads."""
        return self.topics.events

    @property
    def decisions(self) -> str:
        """The topic that it writes what is measured to."""
        return self.topics.decisions

    @property
    def beside(self) -> tuple[str, ...]:
        """The topics that it writes to besides, where they are to be made for it."""
        topics = self.topics
        return (topics.accepted, topics.features, topics.predictions, topics.dlq) if self.whole else ()

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return PEERS / self.peer / "bin" / "python" if self.peer else Path(sys.executable)

    def argv(self, state_dir: Path) -> list[str]:
        """Return its command line."""
        if self.ours:
            without = [word for room in self.without for word in ("--without", room)]
            up = ["up", "employment", "--rooms", self.rooms, "--state-dir", str(state_dir), *without]
            return [str(self.python), "-m", "guidevane.cli", *up]
        return [str(self.python), "-m", self.module, self.events, self.decisions, *self.options]


@dataclass(slots=True)
class Running:
    """A contender at work: its processes are those that carry the name of ``state_dir``."""

    contender: Contender
    state_dir: Path
    process: subprocess.Popen[bytes]
    started_s: float
    ready_s: float | None = None
    trail: Path = field(default_factory=Path)

    def check(self) -> None:
        """Raise ``Failed``, with the end of its log, where it has ended."""
        if (status := self.process.poll()) is not None:
            raise Failed(
                f"{self.contender.name} ended with status {status}; {self.trail} ends:\n{last_lines(self.trail)}"
            )

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that it has used."""
        return processes.cpu_s(self.state_dir)


@asynccontextmanager
async def running(contender: Contender, bootstrap: str) -> AsyncIterator[Running]:
    """Start it, wait until it says that it works (where it can), and end all of it afterwards."""
    if not contender.python.exists():
        raise Failed(f"{contender.name} has no environment at {contender.python}: make peers")
    state_dir = Path(tempfile.mkdtemp(prefix=f"bench-{contender.name}-"))
    log = state_dir / "logs" / "contender.log"
    process = spawn(
        contender.argv(state_dir), state_dir=state_dir, log_path=log, env=_env(bootstrap), die_with_parent=True
    )
    run = Running(contender, state_dir, process, time.monotonic(), trail=log)
    good = False
    try:
        if contender.ours:
            while not (state_dir / "endpoints.json").exists():
                run.check()
                if time.monotonic() - run.started_s > _START_S:
                    raise Failed(f"{contender.name} did not start in {_START_S:.0f} s; see {state_dir / 'logs'}")
                await asyncio.sleep(0.25)
            run.ready_s = time.monotonic() - run.started_s
        yield run
        good = True
    finally:
        await end(process, grace_s=30.0)
        end_all(processes.of(state_dir), grace_s=3.0)
        if good:
            shutil.rmtree(state_dir, ignore_errors=True)


def _env(bootstrap: str) -> Mapping[str, str]:
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **one}
