"""What a contender's processes have used: CPU seconds and memory, from ``/proc``, children and the dead included."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from guidevane.local.process import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ROOM = re.compile(r"guidevane\.services\.(\w+)")
_REPLICA = re.compile(r"ray::ServeReplica:([\w-]+:[\w-]+)")
# After the command's name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17, RSS is 24.
_UTIME, _RSS = 11, 21


def of(state_dir: Path) -> Iterator[psutil.Process]:
    """Yield every process that serves a state folder: all carry its name in their environment."""
    wanted = f"{MARK}={state_dir.resolve()}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield psutil.Process(int(entry.name))


def cpu_s(state_dir: Path) -> dict[str, float]:
    """Return the CPU seconds used so far, user and system, by what each process is.

    Those of children that have ended are in their parents' account, once the parents have waited for them.
    """
    used: dict[str, float] = defaultdict(float)
    for process in of(state_dir):
        with contextlib.suppress(OSError, psutil.Error):
            fields = _stat(process.pid)
            used[_label(process)] += sum(map(int, fields[_UTIME : _UTIME + 4])) / _TICKS_PER_S
    return dict(used)


def rss_bytes(state_dir: Path) -> dict[str, int]:
    """Return the resident memory now, by what each process is."""
    held: dict[str, int] = defaultdict(int)
    for process in of(state_dir):
        with contextlib.suppress(OSError, psutil.Error):
            held[_label(process)] += int(_stat(process.pid)[_RSS]) * _PAGE_BYTES
    return dict(held)


def spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return what was used in between, by what each process is; what used nothing is left out.

    >>> spent({"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 2.0, "c": 0.25})
    {'a': 0.5, 'c': 0.25}
    """
    used = {name: round(after[name] - before.get(name, 0.0), 2) for name in after}
    return {name: seconds for name, seconds in sorted(used.items()) if seconds}


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _label(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    if room := _ROOM.search(command):
        return room[1]
    if replica := _REPLICA.search(command):
        return f"replica {replica[1].rpartition(':')[2]}"
    if "ray" in command and "loadtests" not in command:
        return "ray"
    return "runner" if "guidevane.cli" in command else "loop"
