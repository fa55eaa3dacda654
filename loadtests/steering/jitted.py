"""Loops of the benchmarks that Python would take a hundred times as long for, by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def jitted(function: F) -> F:
    """Compile a function when it is first called, and keep the machine code beside the source for the next process.

    The product's own loops ask for less and start faster (``guidevane.compiled``); these make arrays and take
    named tuples. ``fastmath`` stays off: two runs of one case give the same bytes.
    """
    return cast("F", numba.njit(cache=True, nogil=True)(function))
