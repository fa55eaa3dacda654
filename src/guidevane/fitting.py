"""A check of one contract's events, made as one function: what is right passes at once, the rest is somebody else's.

Twenty fields that are looked at one by one take longer than they took to decode. The function only says yes where it
is sure; who gets a no looks again, one field after the other, and says what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Fits = Callable[[Mapping[str, Any], int], bool]


def fitting(
    key: str,
    bounds: Sequence[tuple[str, float, float]],
    texts: Sequence[str],
    longest: int,
    *,
    time: str | None = None,
    since: int = 0,
) -> Fits:
    """Return a function that is true of events with a key, numbers within their inclusive bounds, and short texts.

    Its second argument is the latest ``time`` that an event may have; ``since`` is the earliest.
    It may be false of one that is right all the same, and raise ``TypeError`` where types are odd.

    >>> fits = fitting("host", [("load", 0.0, 1.0)], ["host"], 10, time="at")
    >>> good = {"host": "a", "load": 0.5, "at": 7}
    >>> fits(good, 7), fits({**good, "host": ""}, 7), fits({**good, "load": float("nan")}, 7), fits(good, 6)
    (True, False, False, False)
    """
    names: dict[str, Any] = {"__builtins__": {"type": type, "len": len}, "texts": (str, bytes), "longest": longest}
    wanted = [f"b[{key!r}] not in (None, '', b'')"]
    for at, (name, low, high) in enumerate(bounds):
        names[f"low{at}"], names[f"high{at}"] = low, high
        value = f"v{at}"
        wanted.append(f"(({value} := b[{name!r}]) is None or low{at} <= {value} <= high{at})")
    for at, name in enumerate(texts):
        text = f"t{at}"
        wanted.append(f"(({text} := b[{name!r}]) is None or type({text}) in texts and len({text}) <= longest)")
    if time is not None:
        names["since"] = since
        wanted.append(f"((at := b[{time!r}]) is None or since <= at <= latest)")
    # As dataclasses and namedtuple do it: the only text that is run is made here, names are quoted.
    exec(f"def fits(b, latest):\n    return {' and '.join(wanted)}\n", names)  # noqa: S102
    found: Fits = names["fits"]
    return found
