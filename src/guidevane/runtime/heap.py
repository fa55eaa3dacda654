"""The C heap of a replica, kept from giving back what the next batch takes again.

A batch's tensors are megabytes that live for a millisecond. Left to itself, glibc gives the end of a heap back to the
kernel as it is freed, and takes it again for the next layer: two to five page faults a row of the example's members,
up to 13 us of the kernel's CPU where the row itself takes 28.
"""

from __future__ import annotations

import ctypes
from typing import Final

# glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES: Final = 64 << 20
"""So much of what is free at a heap's end is kept, at most."""
# The most that glibc itself would raise it to: what is larger goes straight to the kernel, and back.
_LARGE_BYTES = 32 << 20


def keep() -> bool:
    """Keep what is freed from now on; return whether this machine's C library can be told so (glibc's can).

    Call it when everything is loaded: what loading took for a moment is given back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(setting, size) == 1
        for setting, size in ((_M_MMAP_THRESHOLD, _LARGE_BYTES), (_M_TRIM_THRESHOLD, KEPT_BYTES))
    )
