"""Run a program that dies with its parent: ``python tether.py MODE PARENT_PID PROGRAM ARGUMENT...``.

A supervisor that is killed with -9 cannot stop anything. On Linux the kernel can: with
``prctl(PR_SET_PDEATHSIG)`` a process asks for a signal when its parent ends. A wrapper asks rather
than ``preexec_fn``, which may deadlock in a parent that has threads. Elsewhere there is no such
call, so ``tethered`` changes nothing there, and ``guidevane down`` cleans up.

``MODE`` says what must die. ``program``: the wrapper asks for SIGKILL and becomes the program (the
request survives ``exec``). ``session``: for a program whose children outlive it (Ray's agents do),
the wrapper stays, and kills every process of its session when its parent or the program has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def tethered(argv: list[str], *, with_session: bool = False) -> list[str]:
    """Return the command line that runs ``argv`` tied to this process, where the system can.

    ``with_session`` extends the tie to whatever ``argv`` starts in its session, of which the
    wrapper must be the leader.
    """
    if sys.platform != "linux":
        return argv
    mode = "session" if with_session else "program"
    # -I -S: only the standard library, so that the wrapper costs some 15 ms.
    return [sys.executable, "-I", "-S", __file__, mode, str(os.getpid()), *argv]


def _main() -> None:
    mode, parent, *argv = sys.argv[1:]
    program: subprocess.Popen[bytes] | None = None

    def forward(*_: object) -> None:
        if program is not None:
            program.terminate()

    if mode == "session":
        signal.signal(signal.SIGTERM, forward)
        signal.signal(signal.SIGHUP, _kill_session)
    farewell = signal.SIGHUP if mode == "session" else signal.SIGKILL
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, farewell)
    # The parent may have ended before the request was in place; then nobody would ever send it.
    if os.getppid() != int(parent):
        return
    if mode == "program":
        os.execvp(argv[0], argv)  # noqa: S606 - the argument vector comes from our own process
    program = subprocess.Popen(argv)  # noqa: S603 - likewise
    status = program.wait()
    _kill_session()
    # A program that a signal ended has a negative status; the shell's convention survives the exit.
    sys.exit(status if status >= 0 else 128 - status)


def _kill_session(*_: object) -> None:
    """Kill every process of this session but this one."""
    me = os.getpid()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ValueError, ProcessLookupError, PermissionError):
            pid = int(entry.name)
            if pid != me and os.getsid(pid) == me:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _main()
