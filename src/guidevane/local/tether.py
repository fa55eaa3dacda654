"""Run a program that dies with its parent: ``python tether.py PARENT_PID PROGRAM ARGUMENT...``.

A supervisor that is killed with -9 cannot stop anything. On Linux the kernel can:
``prctl(PR_SET_PDEATHSIG, SIGKILL)`` asks it to kill this process when its parent ends, and the
request survives the ``exec`` that follows. A wrapper sets it rather than ``preexec_fn``, which may
deadlock in a parent that has threads. Elsewhere there is no such call, so ``tethered`` changes
nothing there, and ``guidevane down`` cleans up.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tethered(argv: list[str]) -> list[str]:
    """Return the command line that runs ``argv`` tied to this process, where the system can."""
    if sys.platform != "linux":
        return argv
    # -I -S: only the standard library, so that the wrapper costs some 15 ms.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def _main() -> None:
    parent, *argv = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the request was in place; then nobody would ever send it.
    if os.getppid() == int(parent):
        os.execvp(argv[0], argv)  # noqa: S606 - the argument vector comes from our own process


if __name__ == "__main__":
    _main()
