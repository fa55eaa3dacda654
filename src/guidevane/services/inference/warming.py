"""The first calls, before the first event: they open connections, fill caches, and tell how long members take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import numpy as np

from guidevane.services.inference.expecting import Took

if TYPE_CHECKING:
    from guidevane.clock import Clock
    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.expecting import Expecting
    from guidevane.services.inference.members import Members

# A few dozen calls later, calls take what they take.
_ROWS: Final = (1, 16, 64) * 8
_OPENING: Final = len(_ROWS) // 2
"""After so many of them, what a call takes beside computing is what it will take."""


async def warm_up(pipeline: Pipeline, members: Members, expecting: Expecting, clock: Clock) -> None:
    """Ask every member about nothing, again and again; learn from it. Raises what asking raises."""
    names = tuple(member.name for member in pipeline.ensemble.deployed)
    for at, rows in enumerate(_ROWS):
        nothing = np.zeros((rows, pipeline.vector.width), dtype=np.float32)
        call = expecting.send(names, rows, clock.monotonic_s())
        sent_s = clock.monotonic_s()
        try:
            answers = await asyncio.gather(*(members.ask(name, nothing) for name in names))
        finally:
            expecting.back(call, clock.monotonic_s())
        took_s = clock.monotonic_s() - sent_s
        busy_s = {name: answer.busy_s for name, answer in zip(names, answers, strict=True)}
        if at >= _OPENING:
            took = {name: Took(took_s, each, rows) for name, each in busy_s.items()}
            expecting.learn(call, took, clock.monotonic_s())
        else:
            for name, each in busy_s.items():
                expecting.computed(name, rows, each)
