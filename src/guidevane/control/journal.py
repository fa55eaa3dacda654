"""Observations as lines of JSON: what a controller saw can be kept, and judged again by the same or another policy."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from guidevane.control.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from guidevane.control.actions import Decision, Policy


def written(seen: Observation) -> str:
    """Return one observation as a line of JSON, exact to the bit; infinities and NaN as Python's JSON has them.

    >>> read(written(Observation(at_us=1, pipeline="p", counts=(3, 4)))).counts
    (3, 4)
    """
    return json.dumps(asdict(seen), separators=(",", ":"))


def read(line: str) -> Observation:
    """Return the observation of a line. Raises ``ValueError`` (pydantic's) where it is none."""
    return _adapter().validate_python(json.loads(line))


def replayed(policy: Policy, lines: Iterable[str]) -> Iterator[Decision]:
    """Return what a policy decides on a recorded log, from an empty memory on."""
    memory: Any = None
    for line in lines:
        decision, memory = policy(read(line), memory)
        yield decision


@cache
def _adapter() -> TypeAdapter[Observation]:
    return TypeAdapter(Observation)
