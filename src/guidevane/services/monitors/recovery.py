"""After a crash: what was read since the snapshot, in the same order, and what was written of it already."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from guidevane.log import Partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from guidevane.log import Log, Record
    from guidevane.services.monitors.store import Span
    from guidevane.services.monitors.watching import Watcher

_CHUNK: Final = 10_000


async def written_since(
    log: Log, watcher: Watcher, since: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> AsyncIterator[set[str]]:
    """Yield the identities of our outputs from offsets ``since`` (the beginning where not told) to ``ends``."""
    for partition, end in ends.items():
        for start in range(since.get(partition, 0), end, _CHUNK):
            records = await log.read(partition, start, min(start + _CHUNK, end))
            yield {identity for record in records if (identity := watcher.identity(record)) is not None}


async def ends_of(log: Log, topics: Sequence[str]) -> dict[Partition, int]:
    """Return the end of every partition of these topics."""
    return {Partition(topic, number): end for topic in topics for number, end in (await log.ends(topic)).items()}


async def read_again(log: Log, spans: Sequence[Span]) -> AsyncIterator[Sequence[Record]]:
    """Yield the records of each span, span by span; spans of one partition follow each other."""
    # One read per partition, not per span: there may be thousands of small ones.
    bounds: dict[Partition, tuple[int, int]] = {}
    for partition, start, stop in spans:
        first, _ = bounds.get(partition, (start, stop))
        bounds[partition] = (first, stop)
    ahead = {partition: deque(await log.read(partition, *bound)) for partition, bound in bounds.items()}
    for partition, _, stop in spans:
        queue = ahead[partition]
        records = []
        while queue and queue[0].offset < stop:
            records.append(queue.popleft())
        if records:
            yield records
