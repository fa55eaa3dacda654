"""Kafka's own topic of places: everything that every group has committed, one after another."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from guidevane.log import Partition

if TYPE_CHECKING:
    from guidevane.log import Record

PLACES = "__consumer_offsets"
# From this version of the key on, a record is about the members of a group.
_MEMBERS = 2


class Placed(NamedTuple):
    """A group's place in a partition, as it was committed."""

    group: str
    partition: Partition
    offset: int


def placed(record: Record) -> Placed | None:
    """Return what a record of ``PLACES`` says; ``None`` where it forgets a place, or is about a group's members.

    Keys are version (int16), group and topic (each an int16 and UTF-8), partition (int32); values begin with their
    version and the offset (int16, int64), in every version (Kafka's ``OffsetCommitKey`` and ``OffsetCommitValue``).

    >>> from guidevane.log import Record
    >>> def record(key: bytes, value: bytes | None) -> Record:
    ...     return Record(PLACES, 0, 9, key, value, (), 0)
    >>> key = struct.pack(">hh1sh1si", 1, 1, b"g", 1, b"t", 3)
    >>> placed(record(key, struct.pack(">hq", 3, 42)))
    Placed(group='g', partition=Partition(topic='t', number=3), offset=42)
    >>> placed(record(key, None)), placed(record(struct.pack(">hh1s", 2, 1, b"g"), b"members"))
    (None, None)
    """
    key, value = record.key, record.value
    if key is None or value is None or struct.unpack_from(">h", key)[0] >= _MEMBERS:
        return None
    group, behind = _text(key, 2)
    topic, behind = _text(key, behind)
    return Placed(
        group, Partition(topic, struct.unpack_from(">i", key, behind)[0]), struct.unpack_from(">q", value, 2)[0]
    )


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + struct.unpack_from(">h", data, at)[0]
    return data[at + 2 : end].decode(), end
