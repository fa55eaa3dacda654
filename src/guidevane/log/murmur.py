"""Kafka's default partitioner hash, so that our keys land where Java's would.

aiokafka has the same function; it is behind the one door that may import it, and the
in-memory log must agree with it (a test compares the two).
"""

from __future__ import annotations

M = 0x5BD1E995
SEED = 0x9747B28C
MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit murmur2 of ``data`` with Kafka's seed (org.apache.kafka.common.utils.Utils).

    >>> murmur2(b"21") - 2**32
    -973932308
    """
    length = len(data)
    h = (SEED ^ length) & MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * M & MASK
        k = (k ^ (k >> 24)) * M & MASK
        h = (h * M & MASK) ^ k
    if length > whole:
        h ^= int.from_bytes(data[whole:], "little")
        h = h * M & MASK
    h = (h ^ (h >> 13)) * M & MASK
    return h ^ (h >> 15)
