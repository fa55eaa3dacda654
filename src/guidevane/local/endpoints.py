"""Where a local platform listens, as a file; and ending it, by that file and by the marks of its processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from guidevane.errors import Misconfigured
from guidevane.local.process import end_all, marked
from guidevane.local.ray_files import keep_logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME = "endpoints.json"
_CLAIM = "runner.pid"
_LOCK = "runner.lock"
# The rooms drain one after the other, then Kafka and Ray end; a runner that takes longer hangs.
_RUNNER_GRACE_S = 120.0
_GRACE_S = 20.0


class Endpoints(BaseModel):
    """Where the parts of a platform listen. ``STATE_DIR/endpoints.json`` exists while all of it is ready.

    ``kafka`` and ``ray`` are ``host:port``; all others are URLs. ``pids`` names the processes in the
    order in which they are to end: the rooms, then Kafka and Ray.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: str
    admin: str
    ingest: str
    ray: str
    ray_dashboard: str
    metrics: dict[str, str]
    pids: dict[str, int]
    supervisor_pid: int
    state_dir: str

    def save(self, state_dir: Path) -> None:
        """Write the file whole, or not at all: a reader never sees half of it."""
        _write(state_dir / _NAME, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, state_dir: Path) -> Self:
        """Read the file.

        Raises:
            Misconfigured: there is none, or it is not one of ours.
        """
        path = state_dir / _NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise Misconfigured(
                f"nothing is ready under {state_dir}: there is no {_NAME}. Start it with `guidevane up`"
            ) from None
        except OSError as wrong:
            raise Misconfigured(
                f"{path} cannot be read: {wrong} → run as the user who started what runs there"
            ) from wrong
        except ValidationError as wrong:
            raise Misconfigured(
                f"{path} was not written by this version: {wrong}. "
                f"Run `guidevane down --state-dir {state_dir}`, then `guidevane up`"
            ) from wrong

    @staticmethod
    def remove(state_dir: Path) -> None:
        """Remove the file, if there is one."""
        (state_dir / _NAME).unlink(missing_ok=True)

    @staticmethod
    def refuse_if_running(state_dir: Path) -> None:
        """Return if no runner serves ``state_dir``.

        Raises:
            Misconfigured: one does; the message says which process, and how to end it.
        """
        pid = runner_of(state_dir)
        if pid not in {None, os.getpid()}:
            raise Misconfigured(
                f"guidevane runs already on {state_dir}, as process {pid}. End it with "
                f"`guidevane down --state-dir {state_dir}`, or choose another state directory."
            )


@contextlib.contextmanager
def claim(state_dir: Path) -> Iterator[None]:
    """Be the one runner of ``state_dir``, so that another refuses to start and ``down`` finds this process.

    Raises:
        Misconfigured: another process is, or nothing can be written there.
    """
    Endpoints.refuse_if_running(state_dir)
    path = state_dir / _CLAIM
    with ExitStack() as open_:
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            open_.enter_context(_alone(state_dir))
            _write(path, f"{os.getpid()}\n")
        except BlockingIOError:
            raise Misconfigured(
                f"another guidevane starts or ends on {state_dir} just now: wait for it, or choose another --state-dir"
            ) from None
        except OSError as wrong:
            raise Misconfigured(
                f"nothing can be written to {state_dir}: {wrong} → make it writable, or choose another --state-dir"
            ) from wrong
        open_.callback(path.unlink, missing_ok=True)
        yield


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Start or end what runs there, and nobody else. Raises ``BlockingIOError`` where another does.

    Two that start together both find no runner; the kernel knows who was first, and forgets who has died.
    """
    with (state_dir / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def down(state_dir: Path) -> list[str]:
    """End everything that serves ``state_dir``, and say what was done, a line each; blocks until it is done.

    A runner that lives is asked to end, and does so in order. What a killed runner has left behind is
    found by the mark in its environment: first the rooms end, so that they can drain, then the rest.
    Data and logs are kept.
    """
    state_dir = state_dir.resolve()
    done = []
    runner = _runner(state_dir)
    if runner is not None and runner.pid != os.getpid():
        ended = end_all([runner], grace_s=_RUNNER_GRACE_S)
        done.append(f"the runner (process {runner.pid}) {'has ended' if ended else 'does not end'}")
        if not ended:
            return done + _swept(state_dir)
    if not state_dir.is_dir():
        # Whoever removed it may have left processes behind.
        return done + _swept(state_dir) or [f"nothing runs under {state_dir}"]
    try:
        with _alone(state_dir):
            return done + _swept(state_dir) or [f"nothing runs under {state_dir}"]
    except BlockingIOError:
        return [*done, f"another guidevane starts on {state_dir} just now, and is left alone"]


def _swept(state_dir: Path) -> list[str]:
    """End what no runner looks after any more; say what that was."""
    names = _names(state_dir)
    rooms = [process for process in marked(state_dir) if names.get(process.pid) not in {None, "kafka", "ray"}]
    done = [_said(process, names) for process in end_all(rooms, grace_s=_GRACE_S)]
    done += [_said(process, names) for process in end_all(marked(state_dir), grace_s=_GRACE_S)]
    done += [f"process {process.pid} does not end" for process in marked(state_dir)]
    keep_logs(state_dir)
    for name in (_NAME, _CLAIM) if state_dir.is_dir() else ():
        (state_dir / name).unlink(missing_ok=True)
    return done


def runner_of(state_dir: Path) -> int | None:
    """Return the process that runs, starts or ends a platform in ``state_dir``, if there is one."""
    runner = _runner(state_dir)
    return runner.pid if runner is not None else None


def _said(process: psutil.Process, names: dict[int, str]) -> str:
    return f"{names.get(process.pid, 'a process')} ({process.pid}) was left behind, and has ended"


def _names(state_dir: Path) -> dict[int, str]:
    try:
        return {pid: name for name, pid in Endpoints.load(state_dir).pids.items()}
    except Misconfigured:
        return {}


def _runner(state_dir: Path) -> psutil.Process | None:
    """Return the living process that has claimed ``state_dir`` or has written its endpoints."""
    for path, pid in _candidates(state_dir):
        # What a damaged file names may be no number that a process can have.
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError, OverflowError):
            process = psutil.Process(pid)
            # A process that began after the file was written has only inherited the number.
            if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= path.stat().st_mtime:
                return process
    return None


def _candidates(state_dir: Path) -> Iterable[tuple[Path, int]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        path = state_dir / _CLAIM
        yield path, int(path.read_text(encoding="ascii"))
    with contextlib.suppress(Misconfigured):
        yield state_dir / _NAME, Endpoints.load(state_dir).supervisor_pid


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as whole:
        whole.write(text)
    Path(whole.name).replace(path)
