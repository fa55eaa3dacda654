"""Keep the rooms running: start them, restart those that die, stop them in order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured
from guidevane.local.child import Change, Child, Patience, State
from guidevane.local.ward import Ward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)
__all__ = ["Change", "Child", "Patience", "State", "Supervisor"]


def _unheard(_change: Change) -> None:
    pass


class Supervisor:
    """Runs children, each with its own log file, until told to stop or until one is hopeless.

    ``start`` returns at once, ``wait_ready`` when all are ready, and ``watch`` raises when one is given
    up: when it kept dying without being ready, or ended with ``EX_CONFIG`` (78: a person must mend
    something first). ``hire`` and ``dismiss`` add to them and take away while they run. ``stop`` ends the
    children one after the other in the order given, so that who drains still has what it needs. All of
    these belong to one event loop.

    Args:
        children: What to run, in the order in which to stop.
        state_dir: The platform instance they belong to, by which ``guidevane down`` finds them.
        on_change: Told each change of state, in the event loop.
        patience: How to restart.
        die_with_parent: Have the children killed when this process ends, even by ``kill -9`` (Linux).
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        state_dir: Path,
        on_change: Callable[[Change], None] = _unheard,
        patience: Patience | None = None,
        die_with_parent: bool = False,
    ) -> None:
        def ward(child: Child) -> Ward:
            return Ward(
                child, state_dir=state_dir, on_change=on_change, patience=patience or Patience(),
                die_with_parent=die_with_parent,
            )  # fmt: skip

        self._ward = ward
        self._on_change = on_change
        self._wards = [ward(child) for child in children]
        self._tasks: list[asyncio.Task[None]] = []
        self._hired: dict[str, asyncio.Task[None]] = {}

    def pids(self) -> dict[str, int]:
        """Return the processes of the children that run now, in the order given."""
        return {ward.child.name: ward.pid for ward in self._wards if ward.pid is not None}

    async def restart(self, name: str, env: Mapping[str, str]) -> None:
        """End one child in order and start it again with ``env`` added to what it was told at first; return at once."""
        (ward,) = (ward for ward in self._wards if ward.child.name == name)
        await ward.renew(env)

    def hire(self, child: Child, *, beside: str) -> None:
        """Keep one more child running, to be stopped right after the one ``beside`` which it works.

        Whoever is hired may be given up (``State.GIVEN_UP``) without the others: they go on.
        """
        place = next(at for at, ward in enumerate(self._wards) if ward.child.name == beside) + 1
        ward = self._ward(child)
        self._wards.insert(place, ward)
        self._hired[child.name] = asyncio.create_task(self._keep(ward), name=f"keep {child.name}")

    async def dismiss(self, name: str) -> None:
        """End a child that was hired, in order: SIGTERM, and SIGKILL where it has not drained in time."""
        (ward,) = (ward for ward in self._wards if ward.child.name == name)
        task = self._hired.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ward.end()
        self._wards.remove(ward)

    def ready(self, name: str) -> bool:
        """Tell whether a child is ready."""
        return any(ward.ready.is_set() for ward in self._wards if ward.child.name == name)

    async def _keep(self, ward: Ward) -> None:
        try:
            await ward.keep()
        except Misconfigured as hopeless:
            _log.error("%s", hopeless)
            self._on_change(Change(ward.child.name, State.GIVEN_UP))

    def start(self) -> None:
        """Start all children; from now on they are restarted when they die."""
        if self._tasks:
            raise RuntimeError("this supervisor has been started already")
        self._tasks = [asyncio.create_task(ward.keep(), name=f"keep {ward.child.name}") for ward in self._wards]

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when every child has become ready.

        Raises:
            Misconfigured: a child was given up, or one is not ready within ``timeout_s``.
        """
        watching = asyncio.create_task(self.watch())
        ready = asyncio.create_task(self._all_ready())
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait({watching, ready}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
        except TimeoutError:
            late = [ward for ward in self._wards if not ward.ready.is_set()]
            trails = "\n".join(ward.trail() for ward in late)
            names = ", ".join(ward.child.name for ward in late)
            raise Misconfigured(f"not ready within {timeout_s:.0f} s: {names}\n{trails}") from None
        finally:
            watching.cancel()
            ready.cancel()
            await asyncio.gather(watching, ready, return_exceptions=True)

    async def _all_ready(self) -> None:
        for ward in self._wards:
            await ward.ready.wait()

    async def watch(self) -> None:
        """Wait until a child is given up; return when the children are stopped.

        Raises:
            Misconfigured: which child, why, where its log is and how it ends.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if not task.cancelled():
                task.result()

    async def stop(self) -> None:
        """End all children in their order: SIGTERM, and SIGKILL for one that has not drained in time."""
        # Nobody is restarted once stopping has begun, not even who dies while another drains.
        tasks = (*self._tasks, *self._hired.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for ward in self._wards:
            await ward.end()
