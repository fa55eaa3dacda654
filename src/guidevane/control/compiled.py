"""The one door to numba: loops over events that Python would take a hundred times as long for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function when it is first called, and keep the machine code beside the source for the next process.

    ``fastmath`` stays off: two runs of one trace give the same bytes.
    """
    return cast("F", numba.njit(cache=True, nogil=True)(function))
