"""Features on trial: a process that may end, for the features of events that may have ended a room.

Run as a program, this is that process: it computes the features of the batches on its standard input and writes a byte
for each that it has survived. What they make is thrown away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import struct
import sys
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from guidevane.errors import Reject
from guidevane.loading import load_pipeline
from guidevane.services.preprocess.seen import matrix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from guidevane.log import Record

Row: TypeAlias = "tuple[Mapping[str, Any], Mapping[str, float] | None]"
"""What features read of one event: its fields, and what its windows saw, where there are any."""

_log = logging.getLogger(__name__)
_START_WITHIN_S = 30.0
_GONE_WITHIN_S = 1.0
_SIZE = struct.Struct(">I")
_DONE = b"."


class FeatureTrial:
    """Tries events in a process of its own, started when first needed and kept while it lives.

    ``row`` gives what the features of a record would read, or ``None`` where the handler computes none for it.
    ``stuck_s`` is how long the features of one batch may take before they hang.
    """

    def __init__(self, reference: str, row: Callable[[Record], Row | None], *, stuck_s: float = 10.0) -> None:
        self._reference = reference
        self._row = row
        self._stuck_s = stuck_s
        self._process: asyncio.subprocess.Process | None = None
        self._asked: asyncio.StreamWriter
        self._answers: asyncio.StreamReader

    async def culprits(self, records: Sequence[Record]) -> dict[int, Reject]:
        """Return why, by place, for the records whose features end or hang the process."""
        rows = {place: row for place, record in enumerate(records) if (row := self._row(record)) is not None}
        found: dict[int, Reject] = {}
        try:
            left = list(rows)
            # All at once first: nearly everybody is innocent.
            if left and (await self._tried([list(rows.values())]))[1] is None:
                left = []
            while left:
                survived, why = await self._tried([[rows[place]] for place in left])
                if why is not None:
                    found[left[survived]] = why
                left = left[survived + 1 :]
        except (OSError, EOFError, TimeoutError) as unsure:
            _log.warning("nobody can tell which features end the room: %r", unsure)
            await self._end()
        return found

    async def _tried(self, batches: Sequence[Sequence[Row]]) -> tuple[int, Reject | None]:
        """Return how many batches, one after another, were survived, and what became of the process at the next.

        Raises ``OSError``, ``EOFError`` or ``TimeoutError`` where no process can be started.
        """
        if self._process is None or self._process.returncode is not None:
            await self._start()
        written = pickle.dumps(batches)
        self._asked.write(_SIZE.pack(len(written)) + written)
        for survived in range(len(batches)):
            try:
                async with asyncio.timeout(self._stuck_s):
                    await self._answers.readexactly(1)
            except TimeoutError:
                await self._end()
                says = f"its features alone had not been computed after {self._stuck_s:g} s"
                return survived, Reject("feature_hung", says)
            except EOFError:
                status = await self._end()
                return survived, Reject("feature_died", f"its features alone end their process (status {status})")
        return len(batches), None

    async def _start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, self._reference, str(self._stuck_s),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._asked = cast("asyncio.StreamWriter", process.stdin)
        self._answers = cast("asyncio.StreamReader", process.stdout)
        async with asyncio.timeout(_START_WITHIN_S):
            await self._answers.readexactly(1)

    async def _end(self) -> int | None:
        """Let go of the process; return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            # Who has closed its output is about to end, and its own status says more than ours.
            async with asyncio.timeout(_GONE_WITHIN_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()


def _main(reference: str, stuck_s: float) -> None:
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    # Whatever an author prints is no answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    features = load_pipeline(reference).vector
    answers.write(_DONE)
    while (batches := _next(asked)) is not None:
        for rows in batches:
            # Where the room goes first, nobody else would end what hangs.
            signal.alarm(int(2 * stuck_s) + 1)
            windows = [seen for _, seen in rows if seen is not None]
            try:
                matrix_of(features, [fields for fields, _ in rows], windows if features.windows else None)
            except Exception as raised:  # noqa: BLE001 - who raises is found where it serves
                _log.debug("raised: %r", raised)
            answers.write(_DONE)
        signal.alarm(0)


def _next(asked: BinaryIO) -> list[list[Row]] | None:
    size = asked.read(_SIZE.size)
    if len(size) < _SIZE.size:
        return None
    batches: list[list[Row]] = pickle.loads(asked.read(*_SIZE.unpack(size)))  # noqa: S301 - our own room wrote it
    return batches


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]))
