"""Where a long plan may be interrupted: between two simulations, by whoever runs it, with nothing decided otherwise."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_pause: ContextVar[Callable[[], None] | None] = ContextVar("pause", default=None)


@contextmanager
def pausing(pause: Callable[[], None]) -> Iterator[None]:
    """Have ``pause`` called before each simulation that this thread runs meanwhile; it must touch nothing.

    >>> with pausing(lambda: print("a while")):
    ...     may_pause()
    a while
    >>> may_pause()
    """
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)


def may_pause() -> None:
    """Be called some times in ten milliseconds of planning."""
    if (pause := _pause.get()) is not None:
        pause()
