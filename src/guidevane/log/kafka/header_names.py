r"""Headers whose names are no UTF-8.

Kafka's protocol says that they are; its broker does not look, and producers whose clients take names as bytes (Go, C,
Rust) may send any. aiokafka raises ``UnicodeDecodeError`` in the middle of a fetch, at each fetch again: one such
record would stop everybody who reads its topic, for ever. From the first that a process meets, batches are looked
through, and those with such names are read here: the names' odd bytes become ``\xff``, as Python writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import decode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMAT = 2


def tolerate() -> None:
    """Read names of any bytes from now on, in the whole process."""
    # aiokafka 0.14 offers no seam: the contract suite writes such a record, so an upgrade that breaks this is seen.
    fetcher.MemoryRecords = _Records


class _Record(NamedTuple):
    """One record, with the attributes that aiokafka's own has."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    """What a fetch brought, batch by batch."""

    def next_batch(self) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        if raw is None or raw[self.MAGIC_OFFSET] < _FORMAT or batch.is_control_batch:
            return batch
        try:
            for _ in DefaultRecordBatch(raw):
                pass
        except UnicodeDecodeError:
            return _Batch(raw)
        return batch


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose records may have headers of any name."""

    _pos: int

    def _read_msg(self) -> _Record:
        _, at = decode_varint(self._buffer, self._pos)
        _, at = decode_varint(self._buffer, at)
        later, at = decode_varint(self._buffer, at)
        stamped = self.timestamp_type == self.LOG_APPEND_TIME
        delta, at = decode_varint(self._buffer, at)
        key, at = self._bytes(at)
        value, at = self._bytes(at)
        count, at = decode_varint(self._buffer, at)
        headers = []
        for _ in range(count):
            name, at = self._bytes(at)
            said, at = self._bytes(at)
            headers.append(((name or b"").decode(errors="backslashreplace"), said))
        self._pos = at
        written = self.max_timestamp if stamped else self.first_timestamp + later
        return _Record(self.base_offset + delta, written, self.timestamp_type, key, value, headers)

    def _bytes(self, at: int) -> tuple[bytes | None, int]:
        length, at = decode_varint(self._buffer, at)
        return (None, at) if length < 0 else (bytes(self._buffer[at : at + length]), at + length)

    def __iter__(self) -> Iterator[_Record]:
        self._maybe_uncompress()
        return self
