"""Several brokers on this machine, in our hand: each can be killed, stopped and started again on its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from guidevane.drill.waiting import until
from guidevane.errors import Misconfigured
from guidevane.local.kafka import LocalKafka, Ports, Seat, new_cluster_id
from guidevane.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from types import TracebackType

COUNT = 3
_HEAP = ("128m", "256m")
_READY_WITHIN_S = 120.0


class Brokers:
    """Three nodes, from ``async with`` to its end; numbers count from 1, as the cluster's own ids do.

    ``dead`` is an address where nobody is: it stands first in ``bootstrap``, as a broker that an operator has
    removed and not yet taken out of everybody's settings.
    """

    def __init__(self, state_dir: Path) -> None:
        drawn = free_ports(2 * COUNT + 1)
        ports = tuple(Ports(*drawn[2 * n : 2 * n + 2]) for n in range(COUNT))
        cluster_id = new_cluster_id()
        self.dead = f"127.0.0.1:{drawn[-1]}"
        self.numbers = tuple(range(1, COUNT + 1))
        self._folders = {number: state_dir / f"broker-{number}" for number in self.numbers}
        self._nodes = {
            number: LocalKafka(
                self._folders[number], heap=_HEAP, seat=Seat(number, cluster_id, ports), die_with_parent=True
            )
            for number in self.numbers
        }

    @property
    def bootstrap(self) -> str:
        """Return the dead address, then every node's."""
        return ",".join([self.dead, *(node.bootstrap for node in self._nodes.values())])

    async def __aenter__(self) -> Self:
        try:
            await self.start(self.numbers)
        except BaseException:
            await self.stop(self.numbers)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send(signal.SIGCONT, self.numbers)
        await self.stop(self.numbers)

    def address(self, number: int) -> str:
        """Return where clients find a node, whether or not it runs."""
        return self._nodes[number].bootstrap

    def send(self, number: signal.Signals, which: Collection[int]) -> None:
        """Send nodes a signal; what does not run is passed over."""
        for pid in [self._nodes[each].pid for each in which]:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    async def start(self, which: Collection[int]) -> None:
        """Start those of these nodes that do not run, and wait until they serve. Raises ``Misconfigured``."""
        away = [self._nodes[each] for each in which if self._nodes[each].pid is None]
        await asyncio.gather(*(node.start() for node in away))
        await asyncio.gather(*(node.wait_ready(_READY_WITHIN_S) for node in away))

    async def stop(self, which: Collection[int]) -> None:
        """Tell nodes to hand over what they lead and to end, one after the other; wait until they have."""
        for each in which:
            await self._nodes[each].stop()

    async def kill(self, which: Collection[int]) -> None:
        """Kill nodes, and wait until they are gone."""
        self.send(signal.SIGKILL, which)

        async def gone() -> bool:
            return all(self._nodes[each].pid is None for each in which)

        await until(gone, _READY_WITHIN_S)

    def quorum_leader(self) -> int:
        """Return which node leads the controllers, as the nodes have it on their disks. Raises ``Misconfigured``."""
        for number in self.numbers:
            written = self._folders[number] / "kafka" / "data" / "__cluster_metadata-0" / "quorum-state"
            told = json.loads(written.read_bytes())
            if self._nodes[number].pid is not None and told["leaderId"] in self.numbers:
                return int(told["leaderId"])
        raise Misconfigured("no broker knows who leads the controllers")
