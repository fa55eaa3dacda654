"""The partitioner's hash of many keys at a time; apart from ``murmur``, for whoever hashes one needs no arrays."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from guidevane.log.murmur import MASK, SEED, M, murmur2

if TYPE_CHECKING:
    from collections.abc import Sequence

_MANY: Final = 16
"""Keys of one length from which on arrays cost less than a loop."""


def murmur2_all(keys: Sequence[bytes]) -> list[int]:
    """Return what :func:`murmur2` does of each key, many at a time.

    >>> murmur2_all([b"21", b"other"]) == [murmur2(b"21"), murmur2(b"other")]
    True
    """
    hashes = [0] * len(keys)
    places: defaultdict[int, list[int]] = defaultdict(list)
    for at, key in enumerate(keys):
        places[len(key)].append(at)
    for length, same in places.items():
        some = [keys[at] for at in same]
        found = _alike(some, length) if length and len(some) >= _MANY else map(murmur2, some)
        for at, hashed in zip(same, found, strict=True):
            hashes[at] = hashed
    return hashes


def _alike(keys: Sequence[bytes], length: int) -> list[int]:
    """Return the hashes of keys of one length; 32-bit arrays wrap around by themselves."""
    padded = np.zeros((len(keys), -(-length // 4) * 4), np.uint8)
    padded[:, :length] = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), length)
    words, m = padded.view("<u4").T, np.uint32(M)
    h = np.full(len(keys), (SEED ^ length) & MASK, np.uint32)
    for word in words[: length // 4]:
        k = word * m
        h = (h * m) ^ ((k ^ (k >> np.uint32(24))) * m)
    for word in words[length // 4 :]:
        h = (h ^ word) * m
    h = (h ^ (h >> np.uint32(13))) * m
    hashes: list[int] = (h ^ (h >> np.uint32(15))).tolist()
    return hashes
