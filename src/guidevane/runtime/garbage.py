"""Python's garbage collector, kept from looking at what will never be garbage.

A full collection walks every object that can hold others. Ray brings 120,000 of them into a room, torch
340,000 into a replica: 0.09 s and 0.27 s here, in which nothing else runs, whenever enough has been allocated
since the last one. That is a good part of any latency objective.
"""

from __future__ import annotations

import asyncio
import gc
import itertools

# Records and their bodies are freed by reference counts, but a flight of 512 makes more than ten thousand objects that
# live until it is answered: a bound below that had all of them looked at for nothing, a sixteenth of a busy room's
# CPU and an eighth of the monitors' (decision 0033).
_YOUNG = 100_000
# A room that is behind holds sixteen such flights. It looks by the clock instead (decision 0041), and this bound is for
# what no clock foresees.
_YOUNG_SWEPT = 1_000_000
_SWEEP_S = 15.0
_WHOLE_EACH = 20


def freeze(*, swept: bool = False) -> None:
    """Call it when everything is imported and loaded: what is there by now stays, and is never looked at again.

    ``swept`` says that :func:`sweep` runs beside, so that nothing need be looked at for being much.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_SWEPT if swept else _YOUNG, *gc.get_threshold()[1:])


async def sweep(*, every_s: float = _SWEEP_S) -> None:
    """Collect what came lately every so often, and each twentieth time all that is not frozen, until cancelled."""
    for turn in itertools.count(1):
        await asyncio.sleep(every_s)
        gc.collect(1 if turn % _WHOLE_EACH else 2)
