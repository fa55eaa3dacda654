"""What the local Kafka and the local Ray have in common: one process, ready some time after it starts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from guidevane.errors import Misconfigured
from guidevane.local.process import Progress, end, ended, last_lines, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_POLL_S = 0.05


class LocalServer(ABC):
    """A server that this process starts and ends; bound to no event loop.

    Use it as ``async with LocalKafka(dir) as kafka:`` to have it ready inside and gone after, or call
    ``start``, ``wait_ready`` and ``stop``. Several may start at once in one event loop.
    """

    name: ClassVar[str]
    """What people call it."""

    def __init__(self, state_dir: Path, *, die_with_parent: bool, progress: Progress) -> None:
        self._state_dir = state_dir.resolve()
        self._die_with_parent = die_with_parent
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self.log_path = self._state_dir / "logs" / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int | None:
        """The server's process, or None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @abstractmethod
    async def start(self) -> None:
        """Start the process without waiting for it to serve.

        Raises:
            Misconfigured: something that it needs is missing or taken.
        """

    @abstractmethod
    async def _serves(self) -> bool:
        """Say whether clients would be answered now; asked only while the process runs."""

    async def wait_ready(self, timeout_s: float = 120.0) -> None:
        """Return when the server serves requests.

        Raises:
            Misconfigured: it ended, or is not ready within ``timeout_s``; the message has its last log lines.
        """
        if self._process is None:
            raise RuntimeError(f"start the local {self.name} before waiting for it")
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._serves():
                    if (status := self._process.poll()) is not None:
                        raise self._failure(f"ended with status {status} before it was ready")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise self._failure(f"was not ready within {timeout_s:.0f} s") from None
        self._progress(f"{self.name}: ready", 1.0)

    async def watch(self) -> None:
        """Wait until the server ends; return if that is because it was stopped.

        Raises:
            Misconfigured: nobody has stopped it; the message has its last log lines. It may be started again.
        """
        process = self._process
        if process is not None:
            status = await ended(process)
            if self._process is process:
                raise self._failure(f"ended with status {status}")

    async def stop(self, *, grace_s: float = 15.0) -> None:
        """End the server cleanly, or kill it after ``grace_s``; nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            await end(process, grace_s=grace_s)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            await self.wait_ready()
        except BaseException:
            await self.stop(grace_s=0.0)
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    def _refuse_if_running(self) -> None:
        if self.pid is not None:
            raise RuntimeError(f"the local {self.name} runs already, as process {self.pid}")

    def _run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, with_session: bool = False) -> None:
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._process = spawn(
            argv,
            state_dir=self._state_dir,
            log_path=self.log_path,
            env=env,
            die_with_parent=self._die_with_parent,
            with_session=with_session,
        )

    def _logged(self, words: bytes) -> bool:
        """Say whether the log has ``words`` since the last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return words in log.read()

    def _failure(self, what: str) -> Misconfigured:
        log = self.log_path
        return Misconfigured(f"the local {self.name} {what}. Its log {log} ends:\n{last_lines(log)}")
