"""What faults may lay hands on: processes, the network, the broker's disk and settings, the load."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from guidevane.drill.waiting import until
from guidevane.errors import GuidevaneError, Misconfigured
from guidevane.local.process import end, marked, spawn

if TYPE_CHECKING:
    import random
    import subprocess
    from collections.abc import Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.drill.brokers import Brokers
    from guidevane.drill.disk import Disk
    from guidevane.drill.load import Load
    from guidevane.drill.network import Wire
    from guidevane.local.platform import Platform
    from guidevane.log import Log
    from guidevane.log.kafka import KafkaOperator

_ANSWER_WITHIN_S = 2.0
_RIVAL_WITHIN_S = 60.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """The running platform, and everything that can be done to it."""

    platform: Platform
    load: Load
    wire: Wire
    log: Log
    operator: KafkaOperator
    codec: Codec
    clock: Clock
    draws: random.Random
    session_s: float
    disk: Disk | None = None
    brokers: Brokers | None = None
    rivals: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def hot(self) -> tuple[str, ...]:
        """Return the rooms on an event's way."""
        return ("fused",) if self.platform.rooms == "fused" else ("ingest", "preprocess", "inference", "postprocess")

    def pid(self, part: str) -> int:
        """Return the process of a room, of ``kafka`` or of ``ray``."""
        found = self.platform.endpoints.pids.get(part)
        if found is None:
            raise Misconfigured(f"no process is known as {part}: it is not running")
        return found

    def send(self, number: signal.Signals, *parts: str) -> None:
        """Send a signal to each of these, as quickly as it goes."""
        for pid in [self.pid(part) for part in parts]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def pause(self, seconds: float, *parts: str) -> None:
        """Stop processes, and let them go on after a while."""
        pids = [self.pid(part) for part in parts]
        self._each(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._each(pids, signal.SIGCONT)

    async def find(self, words: str) -> list[int]:
        """Return the platform's processes whose command line has these words: Ray names its own so."""

        def look() -> list[int]:
            found = []
            for process in marked(self.platform.state_dir):
                with suppress(OSError, RuntimeError, ProcessLookupError):
                    if words in " ".join(process.cmdline()):
                        found.append(process.pid)
            return found

        pids = await asyncio.to_thread(look)
        if not pids:
            raise Misconfigured(f"no process of the platform is called {words}")
        return pids

    def kill(self, pids: Sequence[int], number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to these processes."""
        self._each(pids, number)

    async def ready(self, rooms: Sequence[str]) -> bool:
        """Tell whether these rooms all say that they are."""
        urls = [self.platform.endpoints.metrics[room].replace("/metrics", "/readyz") for room in rooms]
        return all([await self._answers(url) for url in urls])

    async def rival(self, room: str, **settings: str) -> int:
        """Start one more member for a room's group; return its process once it works."""
        child = self.platform.another(room, f"drill-{room}-rival", **settings)
        process = await asyncio.to_thread(
            lambda: spawn(
                child.argv, state_dir=self.platform.state_dir, log_path=child.log_path, env=child.env,
                die_with_parent=True,
            )
        )  # fmt: skip
        self.rivals.append(process)
        if not await until(lambda: self._answers(str(child.ready_url)), _RIVAL_WITHIN_S):
            raise TimeoutError(f"the rival of {room} does not become ready: see {child.log_path}")
        return process.pid

    async def dismiss(self) -> None:
        """Let all rivals drain and end."""
        for process in self.rivals:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            await end(process, grace_s=15.0)
        self.rivals.clear()

    async def wait_ready(self, rooms: Sequence[str], within_s: float) -> None:
        """Wait until these rooms are ready. Raises ``TimeoutError``."""
        if not await until(lambda: self.ready(rooms), within_s):
            raise TimeoutError(f"not ready within {within_s:.0f} s: {', '.join(rooms)}")

    async def disturb(self, group: str, topic: str, seconds: float) -> None:
        """Join a group, hold partitions without working on them, and leave."""
        guest = self.log.consumer([topic], group=group)
        try:
            async with asyncio.timeout(self.session_s * 2):
                await guest.start()
            await asyncio.sleep(seconds)
        except (GuidevaneError, TimeoutError):
            # It did not get in: also a disturbance.
            pass
        finally:
            with suppress(GuidevaneError, TimeoutError):
                async with asyncio.timeout(self.session_s):
                    await guest.close()

    @staticmethod
    def _each(pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @staticmethod
    async def _answers(url: str) -> bool:
        try:
            async with httpx.AsyncClient(timeout=_ANSWER_WITHIN_S) as client:
                return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False
