"""One child of the supervisor: run it again and again, and say what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING

import httpx

from guidevane.errors import Misconfigured
from guidevane.local.child import Change, Child, Patience, State
from guidevane.local.process import end, ended, last_lines, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path

_ASK_READY_EVERY_S = 0.25
_ASK_HEALTH_EVERY_S = 2.0
_ANSWER_WITHIN_S = 5.0
_DEAF_GRACE_S = 2.0


class Ward:
    """A child and what is remembered of it. ``ready`` is set while it is ready."""

    def __init__(
        self,
        child: Child,
        *,
        state_dir: Path,
        on_change: Callable[[Change], None],
        patience: Patience,
        die_with_parent: bool,
    ) -> None:
        self.child = child
        self.ready = asyncio.Event()
        self._state_dir = state_dir
        self._on_change = on_change
        self._patience = patience
        self._die_with_parent = die_with_parent
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_at_s: float | None = None
        self._added: dict[str, str] = {}
        self._renewing = False

    @property
    def pid(self) -> int | None:
        """The child's process, or None between two lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def keep(self) -> None:
        """Run the child, again and again, until cancelled.

        Raises:
            Misconfigured: it cannot be started, or it is hopeless.
        """
        now_s = asyncio.get_running_loop().time
        deaths_unready: deque[float] = deque()
        in_a_row = 0
        state = State.STARTED
        while True:
            self._process = self._spawn()
            self._say(state)
            status = await self._live(self._process)
            ready_at_s, died_at_s = self._ready_at_s, now_s()
            self._forget(State.DIED, status)
            if ready_at_s is None:
                deaths_unready.append(died_at_s)
            else:
                deaths_unready.clear()
            while deaths_unready and deaths_unready[0] < died_at_s - self._patience.within_s:
                deaths_unready.popleft()
            self._lose_hope(status, len(deaths_unready))
            was_well = ready_at_s is not None and died_at_s - ready_at_s >= self._patience.well_after_s
            if self._renewing:
                self._renewing, in_a_row = False, 0
            else:
                in_a_row = 1 if was_well else in_a_row + 1
                await asyncio.sleep(self._patience.delay_s(in_a_row))
            state = State.RESTARTED

    async def end(self) -> None:
        """End the child if it runs; ``keep`` must have been cancelled before."""
        if self._process is not None:
            status = await end(self._process, grace_s=self._patience.stop_s)
            self._forget(State.STOPPED, status)

    async def renew(self, env: Mapping[str, str]) -> None:
        """End the child's present life; the next one begins at once, with ``env`` added to what it was told first."""
        self._added, self._renewing = dict(env), self.pid is not None
        if self._process is not None:
            await end(self._process, grace_s=self._patience.stop_s)

    def trail(self) -> str:
        """Return where the child's log is, and its last lines."""
        return f"the log of {self.child.name}, {self.child.log_path}, ends:\n{last_lines(self.child.log_path)}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        child = self.child
        try:
            return spawn(
                child.argv,
                state_dir=self._state_dir,
                log_path=child.log_path,
                env={**child.env, **self._added},
                die_with_parent=self._die_with_parent,
            )
        except OSError as failure:
            raise Misconfigured(f"cannot start {child.name}: {failure}") from failure

    async def _live(self, process: subprocess.Popen[bytes]) -> int:
        """Return the exit status when the process has ended."""
        asking = asyncio.create_task(self._ask(process), name=f"ask {self.child.name}")
        try:
            return await ended(process)
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    async def _ask(self, process: subprocess.Popen[bytes]) -> None:
        """Find out when the child is ready; end it when it has been unwell for too long."""
        now_s = asyncio.get_running_loop().time
        async with httpx.AsyncClient(timeout=_ANSWER_WITHIN_S) as client:
            await self._wait_ready(client)
            well_at_s = self._ready_at_s = now_s()
            self.ready.set()
            self._say(State.READY)
            while self.child.health_url is not None and now_s() - well_at_s < self._patience.unwell_s:
                await asyncio.sleep(min(_ASK_HEALTH_EVERY_S, self._patience.unwell_s / 3))
                if await _good(client, self.child.health_url):
                    well_at_s = now_s()
        if self.child.health_url is not None:
            # Whose loop stands still does not hear SIGTERM either.
            await end(process, grace_s=_DEAF_GRACE_S)

    async def _wait_ready(self, client: httpx.AsyncClient) -> None:
        """Return when the child is ready; say what it waits for, where that takes long."""
        now_s = asyncio.get_running_loop().time
        told_at_s, told = now_s(), ""
        # Only the child itself knows when it is ready, so it is asked again and again.
        while self.child.ready_url is not None and (why := await _wanting(client, self.child.ready_url)) is not None:
            if why not in {"", told} and now_s() - told_at_s >= self._patience.told_every_s:
                told_at_s, told = now_s(), why
                self._on_change(Change(self.child.name, State.WAITING, why=why))
            await asyncio.sleep(_ASK_READY_EVERY_S)

    def _forget(self, state: State, status: int) -> None:
        self._process = self._ready_at_s = None
        self.ready.clear()
        self._say(state, status)

    def _lose_hope(self, status: int, deaths_unready: int) -> None:
        if status == os.EX_CONFIG:
            raise Misconfigured(f"{self.child.name} needs a person to mend something; {self.trail()}")
        if deaths_unready > self._patience.deaths:
            raise Misconfigured(
                f"{self.child.name} ended {deaths_unready} times within {self._patience.within_s:.0f} s without being "
                f"ready, at last with status {status}; {self.trail()}"
            )

    def _say(self, state: State, status: int | None = None) -> None:
        self._on_change(Change(self.child.name, state, status))


async def _wanting(client: httpx.AsyncClient, url: str) -> str | None:
    """Return what a child says that it waits for, nothing where it says nothing; ``None`` once it is ready."""
    try:
        answer = await client.get(url)
        return None if answer.is_success else "; ".join(map(str, answer.json()["reasons"]))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""


async def _good(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False
