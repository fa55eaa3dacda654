"""Noticing that Ray is gone, and starting over.

A client of Ray does not survive its cluster: its handles wait for replicas that nobody will start, and after a
minute Ray ends the process. A new one finds the new cluster and deploys there; what was in flight is
answered by it, for nothing of that was committed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import GuidevaneError, Retryable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.services.inference.members import Members

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5
_KNOCK_WITHIN_S = 2.0
_ANSWER_WITHIN_S = 1.0
_REFUSALS = 2


async def reach(address: str) -> None:
    """Knock at the cluster's door. Raises ``Retryable`` where nobody opens: Ray itself would wait for long."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        # ``auto``, or a scheme of Ray's own: only Ray knows where that is.
        return
    try:
        async with asyncio.timeout(_KNOCK_WITHIN_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError) as away:
        raise Retryable(f"no Ray at {address}: {away!r}") from away
    writer.close()


async def hold(address: str, members: Members, names: Sequence[str], width: int, stop: asyncio.Event) -> None:
    """Watch until told to stop; end the process where the cluster's door stays shut and no member answers any more.

    A control plane that restarts behind replicas that go on scoring is no reason to go.
    """
    refusals = 0
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await stop.wait()
        try:
            await reach(address)
        except Retryable as gone:
            refusals += 1
            if refusals >= _REFUSALS and not await _anyone(members, names, width):
                _log.error("starting over: %s, and no member answers", gone)
                # Ray's own farewell waits for the cluster that is gone.
                os._exit(os.EX_TEMPFAIL)
        else:
            refusals = 0


async def _anyone(members: Members, names: Sequence[str], width: int) -> bool:
    """Tell whether any member still scores."""
    nothing = np.zeros((1, width), dtype=np.float32)

    async def asked(name: str) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await members.ask(name, nothing)
        except (GuidevaneError, TimeoutError):
            return False
        return True

    return any(await asyncio.gather(*(asked(name) for name in names)))
