"""Waiting until a cluster has replicas. Run as a program, it then becomes the program that its arguments name."""

from __future__ import annotations

import contextlib
import os
import sys

import psutil

from guidevane.local.process import in_session

_WITHIN_S = 30.0
"""So long after the raylet everything else is started, whatever there is."""
_LOOK_S, _LOOKS = 0.5, 4
_BUSY = 75.0
"""Percent of all cores: replicas that load, and rooms that catch up, take more."""
_REPLICA = "ray::ServeRepli"
"""What Ray calls a replica's process, as far as the kernel keeps it."""


def replicas() -> None:
    """Return when this session has a replica and the machine had time for two seconds; after half a minute anyway."""
    looks = 0
    for _ in range(round(_WITHIN_S / _LOOK_S)):
        looks = looks + 1 if psutil.cpu_percent(interval=_LOOK_S) < _BUSY and _any() else 0
        if looks == _LOOKS:
            return


def _any() -> bool:
    for process in in_session(os.getsid(0)):
        # One may have ended since it was listed.
        with contextlib.suppress(psutil.Error):
            if process.name().startswith(_REPLICA):
                return True
    return False


if __name__ == "__main__":
    replicas()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the very command that Ray would have run
