"""A small disk for the broker, that can be made smaller under it: a tmpfs in a mount namespace of our own."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import sys
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 32, 16384, 1 << 18
_ROOMY_BYTES = 2 << 30
_MARGIN_BYTES = 64 << 10


class Disk:
    """The mounted folder. Nothing of it outlives this process and its children: the namespace ends with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no room but a few pages."""
        self._resize(shutil.disk_usage(self.folder).used + _MARGIN_BYTES)

    def empty(self) -> None:
        """Make room again."""
        self._resize(_ROOMY_BYTES)

    def _resize(self, size: int) -> None:
        _mount(b"tmpfs", self.folder, _MS_REMOUNT, f"size={size}")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk | None]:
    """Mount a small disk at ``folder``, or yield ``None`` where this system or user may not.

    To be entered before the process has threads that start others: a namespace belongs to the thread.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or os.geteuid() != 0:
        yield None
        return
    try:
        _apart()
        _mount(b"tmpfs", folder, 0, f"size={_ROOMY_BYTES},mode=0700")
    except Misconfigured:
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        with contextlib.suppress(Misconfigured):
            _call("umount2", os.fsencode(folder), 2)


@functools.cache
def _apart() -> None:
    """Have mounts of our own: once, for threads that began under the first namespace would not see a second one's."""
    _call("unshare", _CLONE_NEWNS)
    _mount(b"none", "/", _MS_REC | _MS_PRIVATE, "")


def _mount(kind: bytes, at: Path | str, flags: int, options: str) -> None:
    _call("mount", b"none", os.fsencode(at), kind, ctypes.c_ulong(flags), options.encode())


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise Misconfigured(f"{name}: {os.strerror(ctypes.get_errno())}")
