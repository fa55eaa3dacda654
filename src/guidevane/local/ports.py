"""Choose free loopback ports."""

from __future__ import annotations

import random
import socket
from collections import deque
from contextlib import ExitStack

# Below the ranges from which Linux (32768-60999) and the BSDs and macOS (49152-65535) draw the ports of outgoing
# connections: a port chosen here cannot be taken by a client between the choice and the server's bind.
_FIRST, _LAST = 20_000, 31_999
_TRIES = 200
# Not the shared generator: who seeds that one, in two processes alike, would draw the same ports in both.
_draws = random.SystemRandom()
# What was given out last may not be bound yet: who draws again, for the next server, must not draw it.
_given: deque[int] = deque(maxlen=1024)


def free_ports(count: int) -> list[int]:
    """Return ``count`` distinct ports that nobody listens on at 127.0.0.1 or at any other address.

    They are drawn at random, so that two runners that start at once hardly ever draw the same; one runner never does.

    Raises:
        OSError: no port in the range could be bound.
    """
    drawn: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(drawn) == count:
                break
            candidate = _draws.randint(_FIRST, _LAST)
            if candidate in _given:
                continue
            holder = held.enter_context(socket.socket())
            try:
                # All addresses: some servers (Ray's) bind more than loopback.
                holder.bind(("0.0.0.0", candidate))  # noqa: S104 - probed and closed, never listened on
            except OSError:
                continue
            drawn.append(candidate)
    if len(drawn) < count:
        raise OSError(f"found {len(drawn)} free ports of {count} between {_FIRST} and {_LAST}")
    _given.extend(drawn)
    return drawn


def is_free(port: int) -> bool:
    """Say whether a server could bind ``port`` on 127.0.0.1 now."""
    with socket.socket() as probe:
        # A server's own closed connections linger for a minute and do not keep it from binding again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
