"""Python's garbage collector, kept from looking at what will never be garbage.

A full collection walks every object that can hold others. Ray brings 120,000 of them into a room, torch
340,000 into a replica: 0.09 s and 0.27 s here, in which nothing else runs, whenever enough has been allocated
since the last one. That is a good part of any latency objective.
"""

from __future__ import annotations

import gc

# Records and their bodies are freed by reference counts, but a flight of 512 makes more than ten thousand objects that
# live until it is answered: a bound below that had all of them looked at for nothing, a sixteenth of a busy room's
# CPU and an eighth of the monitors' (decision 0033).
_YOUNG = 100_000


def freeze() -> None:
    """Call it when everything is imported and loaded: what is there by now stays, and is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
