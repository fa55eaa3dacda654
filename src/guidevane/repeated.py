"""Keys that an object of a JSON text has twice."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def repeated_key(text: bytes, parsed: object) -> str | None:
    """Return a key that one object of a JSON text has twice; ``parsed`` is what a parser made of the text.

    A parser keeps one of two equal keys, and parsers differ in which. Where something was dropped, there are
    more quotes than what is left can account for; escaped quotes are counted by the slow way.

    >>> from json import loads
    >>> [repeated_key(each, loads(each)) for each in (b'{"a": 1, "b": {"a": 1}}', b'[{"a": 1, "a": 2}]')]
    [None, 'a']
    """
    if text.count(b'"') == 2 * _strings_in(parsed):
        return None

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            counts = Counter(name for name, _ in found)
            raise _RepeatedError(counts.most_common(1)[0][0])
        return made

    try:
        json.loads(text, object_pairs_hook=pairs)
    except _RepeatedError as twice:
        return twice.name
    except (ValueError, RecursionError):
        # What orjson read and this does not is nothing that we know to be repeated.
        return None
    return None


def _strings_in(value: object) -> int:
    """Count the strings of a JSON value, keys included.

    >>> _strings_in({"a": ["b", 1], "c": {"d": None}})
    4
    """
    if type(value) is str:
        return 1
    found = 0
    ahead = [value]
    while ahead:
        item = ahead.pop()
        if type(item) is dict:
            found += len(item)
            within: Iterable[Any] = item.values()
        else:
            within = item if type(item) is list else ()
        for each in within:
            kind = type(each)
            if kind is str:
                found += 1
            elif kind is dict or kind is list:
                ahead.append(each)
    return found


class _RepeatedError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
