"""How one of our rooms reads what another wrote: decoded already where both are in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from guidevane.events import Accepted

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.codec import Codec
    from guidevane.log import Record

T = TypeVar("T")

EVENT_ID = "event_id"
"""The header that names the event on every topic, so that nobody must decode to know it."""


class Opened(Accepted, total=False):
    """An accepted event in the process that accepted it: ``fields`` are the event's own, as ``event`` holds them.

    They are there where decoding ``event`` would give the same values, type for type.
    """

    fields: dict[str, Any]


def reader(codec: Codec, name: str, kind: type[T]) -> Callable[[Record], T]:
    """Return a function from a record of our own topics to its event."""
    del kind
    decode = codec.decoder(name, trusted=True)

    def read(record: Record) -> T:
        body = record.body if record.body is not None else decode(record.value, record.headers)
        return cast("T", body)

    return read
