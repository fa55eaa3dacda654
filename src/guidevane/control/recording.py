"""Recorded arrivals: one time in seconds a line."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

HEADER = "arrival_s"
_NAME = re.compile(r"[^\W\d][\w .()/\[\]-]*")
LONGEST_S = 14 * 24 * 3600.0
"""No run is longer: a file of epoch times with one outlier would otherwise tick for years."""


def parse(lines: Iterable[str], *, name: str) -> npt.NDArray[np.float64]:
    """Return arrival times, float64[n], in seconds, not decreasing, n >= 1, the first in the run's first second.

    The run begins with the whole second of the first arrival, so files of epoch times are as good as others.
    Empty lines, and a first line (but for empty ones) that is a column's name, such as ``arrival_s``, are passed over.

    Raises:
        Misconfigured: a line that is no number, is negative, not finite or earlier than the one before; no line at all.

    >>> parse(["3.5", "4"], name="a.csv").tolist()
    [0.5, 1.0]
    >>> parse(["1", "x"], name="a.csv")
    Traceback (most recent call last):
    guidevane.errors.Misconfigured: a.csv, line 2: 'x' is no number → write one arrival time in seconds a line
    """
    times: list[float] = []
    begun = False
    for number, line in enumerate(lines, start=1):
        text = line.strip().lstrip("\ufeff")
        if not text:
            continue
        first, begun = not begun, True
        try:
            at = float(text)
        except ValueError:
            if first and _NAME.fullmatch(text.strip("'\"")):
                continue
            raise Misconfigured(
                f"{name}, line {number}: {text[:40]!r} is no number → write one arrival time in seconds a line"
            ) from None
        if not math.isfinite(at):
            raise Misconfigured(f"{name}, line {number}: {text[:40]!r} is not finite → leave the line out")
        if at < 0:
            raise Misconfigured(f"{name}, line {number}: {at:g} s is negative → count from the begin of the recording")
        if times and at < times[-1]:
            raise Misconfigured(
                f"{name}, line {number}: {at:g} s is earlier than {times[-1]:g} s on the line before → sort the file"
            )
        times.append(at)
    if not times:
        raise Misconfigured(f"{name}: there is no arrival in it → write one arrival time in seconds a line")
    since_s = np.asarray(times) - math.floor(times[0])
    if since_s[-1] > LONGEST_S:
        raise Misconfigured(
            f"{name}: {since_s[-1] / 86400:.0f} days from first to last arrival; at most {LONGEST_S / 86400:.0f} are "
            "played → cut the file, and look whether all its lines are seconds"
        )
    return since_s
