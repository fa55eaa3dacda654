"""What of an event is about people: the names that stand for them, and the groups that they belong to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.event import Event

# Of SHA-256, in bytes.
_BLOCK = 64
_FLOATS = frozenset({"float", "double"})


class Pseudonyms:
    """Gives the same 128-bit name for the same value and secret: HMAC-SHA-256 (RFC 2104), in hex.

    Its two hashes each begin with the secret, so they are begun once, and copied: a whole HMAC takes nearly three times
    as long.

    >>> import hmac
    >>> name = Pseudonyms(b"k" * 32)
    >>> name(17) == name("17") == hmac.digest(b"k" * 32, b"17", "sha256")[:16].hex()
    True
    """

    def __init__(self, secret: bytes) -> None:
        key = secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()
        self._inner, self._outer = (
            hashlib.sha256(bytes(byte ^ pad for byte in key.ljust(_BLOCK, b"\0"))) for pad in (0x36, 0x5C)
        )

    def __call__(self, value: object) -> str:
        """Return the name."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(str(value).encode())
        outer.update(inner.digest())
        return outer.hexdigest()[:32]


class Groups:
    """An event's protected fields as words, the same object for all events of a group.

    There are few groups, and what is written of one (:mod:`guidevane.pieces`), is of all; a field of many values makes
    many, of which the last are shared.
    """

    def __init__(self, event: Event, most: int = 1024) -> None:
        self._names, self._most = event.protected, most
        # Values that are equal and are written otherwise, as 1 and 1.0 and true, or 0.0 and -0.0, are of two groups.
        self._plain = all(len(event.kinds(name)) == 1 and not event.kinds(name) & _FLOATS for name in self._names)
        self._by_values: dict[tuple[Any, ...], dict[str, str]] = {}
        self._by_words: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def of(self, body: Mapping[str, Any]) -> dict[str, str]:
        """Return the fields that are not null; nobody may change them."""
        if not self._plain:
            return self._shared(body)
        values = tuple([body[name] for name in self._names])
        found = self._by_values.get(values)
        if found is None:
            if len(self._by_values) >= self._most:
                self._by_values.clear()
            found = self._by_values[values] = self._shared(body)
        return found

    def of_all(self, columns: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, str]]:
        """Return the same for each of so many events, by their columns."""
        if not self._names:
            return [self.of({})] * count
        rows = list(zip(*(columns[name] for name in self._names), strict=True))
        found = [self._by_values.get(row) for row in rows] if self._plain else [None] * count
        return [
            self.of(dict(zip(self._names, row, strict=True))) if known is None else known
            for row, known in zip(rows, found, strict=True)
        ]

    def _shared(self, body: Mapping[str, Any]) -> dict[str, str]:
        words = {name: str(body[name]) for name in self._names if body[name] is not None}
        if len(self._by_words) >= self._most:
            self._by_words.clear()
        return self._by_words.setdefault(tuple(words.items()), words)
