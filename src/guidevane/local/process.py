"""Start, watch and end programs; every program carries the name of the state directory it serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil

from guidevane.local.tether import tethered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Progress = Callable[[str, float | None], None]
"""Told what is under way, and the share done (0-1) where it is known; may be called from any thread."""

MARK = "GUIDEVANE_STATE_DIR"
"""The environment variable by which a process is found again after its runner was killed."""

_POLL_S = 0.05
_KILL_GRACE_S = 5.0

# Linux sends the parent-death signal when the *thread* that started the child ends. One thread that lives as
# long as the process therefore starts them all; a worker thread of an event loop would take them with it.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guidevane-start")


def silent(_doing: str, _share: float | None) -> None:
    """Take no notice of progress."""


def spawn(
    argv: Sequence[str],
    *,
    state_dir: Path,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    die_with_parent: bool = False,
    with_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a process group of its own, with both outputs appended to ``log_path``.

    ``env`` is added to this process's environment. The new group keeps a terminal's Ctrl-C from
    reaching the child: who started it ends it, in the right order. With ``die_with_parent`` the
    kernel kills the child when this process ends, however it ends (Linux only); ``with_session``
    gives the child a session of its own, and makes that hold for all that it has started too.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = tethered(list(argv), with_session=with_session) if die_with_parent else list(argv)
    environment = {**os.environ, **(env or {}), MARK: str(state_dir.resolve())}
    # A group, not a session, where that will do: Linux shares the CPU out by session (autogroup), and a room's
    # niceness means nothing to the rooms of other sessions.
    group = None if with_session else 0

    def start() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - an argument vector of our own making, no shell
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=with_session, process_group=group,
            )  # fmt: skip

    return _starter.submit(start).result()


async def end(child: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Ask ``child`` to end (SIGTERM), kill it after ``grace_s``; return its exit status."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await ended(child)
        except TimeoutError:
            child.kill()
    return await ended(child)


async def ended(child: subprocess.Popen[bytes]) -> int:
    """Wait until ``child`` has ended; return its exit status (negative: the signal that ended it)."""
    # No child watcher of an event loop: the child may be started in one loop and stopped in another.
    while (status := child.poll()) is None:
        await _told(child.pid)
    return status


async def _told(pid: int) -> None:
    """Wait until a child that nobody has waited for may have ended; where Linux does not tell, for a moment."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        await asyncio.sleep(_POLL_S)
        return
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(handle, ready.set)
        await ready.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def end_all(processes: Iterable[psutil.Process], *, grace_s: float) -> list[psutil.Process]:
    """End the processes that still run: SIGTERM, then SIGKILL after ``grace_s``; return those that ended.

    A process that another one took the number of is never touched: psutil compares start times.
    """
    running = [process for process in processes if process.is_running()]
    for process in running:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    gone, alive = psutil.wait_procs(running, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    killed, _ = psutil.wait_procs(alive, timeout=_KILL_GRACE_S)
    return [*gone, *killed]


def marked(state_dir: Path) -> list[psutil.Process]:
    """Return the running processes that serve ``state_dir``, this one and its ancestors left out."""
    wanted = str(state_dir.resolve())
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        # Another user's process does not show its environment; it cannot be ours either.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in spared and process.environ().get(MARK) == wanted:
                found.append(process)
    return found


def in_session(leader: int) -> list[psutil.Process]:
    """Return the processes of the session that a process leads, or led."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


def last_lines(path: Path, *, count: int = 12) -> str:
    """Return the last lines of a log, indented, for a message that names the cause."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            lines = log.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "  (no log was written)"
    return "\n".join(f"  {line}" for line in lines[-count:]) or "  (the log is empty)"
