"""What a worker holds in one life: the partitions that it owns, the flights that are under way, what is to commit."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from guidevane.runtime.flight import Flight
from guidevane.runtime.pacing import weight_bytes
from guidevane.runtime.takeover import shrunk
from guidevane.runtime.timing import Times
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.log import Committed, Partition, Record
    from guidevane.runtime.delivery import Delivery
    from guidevane.runtime.flight import Route
    from guidevane.runtime.pacing import Pacing
    from guidevane.runtime.stage import Changes
    from guidevane.runtime.takeover import Ownership


class Holding:
    """Flights leave in the order of their records and land in that order, so that places are contiguous prefixes."""

    def __init__(self, route: Route, pacing: Pacing) -> None:
        self.route = route
        self.pacing = pacing
        self.owned: dict[Partition, Ownership] = {}
        self._flying: deque[tuple[Flight, asyncio.Task[None]]] = deque()
        self._dirty: set[Partition] = set()
        self._unwritten: dict[int, dict[tuple[int, str], object]] = {}

    def launch(
        self,
        found: Mapping[Partition, Sequence[Record]],
        delivery: Delivery,
        ends_seen: Callable[[], Mapping[Partition, int]],
    ) -> None:
        """Send off what a fetch brought, but for what is under way already: a rewind may bring it again.

        Raises ``Retryable`` where a partition, as the fetch saw it, ends before what was read of it.
        """
        records: list[Record] = []
        ends: dict[Partition, int] = {}
        for partition, batch in found.items():
            owned = self.owned[partition]
            again = bool(batch) and batch[0].offset < owned.next
            if again and (end := ends_seen().get(partition, owned.next)) < owned.next:
                raise shrunk(partition, end, owned.next)
            fresh = [record for record in batch if record.offset >= owned.next] if again else batch
            if fresh:
                owned.next = ends[partition] = fresh[-1].offset + 1
                records.extend(fresh)
        if not records:
            return
        flight = Flight(
            records,
            Times.of(records),
            ends,
            weight_bytes(records),
            self._flying[-1][0] if self._flying else None,
            [asyncio.Event() for _ in self.route.stages],
        )
        self.pacing.enter(len(records), flight.bytes)
        self.route.metrics.gauge(names.IN_FLIGHT_RECORDS, self.pacing.records)
        self.route.metrics.gauge(names.IN_FLIGHT_BYTES, self.pacing.bytes)
        outbox = delivery.outbox(ends, {partition: self.owned[partition].place for partition in ends})
        self._flying.append((flight, asyncio.create_task(self.route.carry(flight, outbox, self.owned))))

    @property
    def flying(self) -> bool:
        """Tell whether anything is under way."""
        return bool(self._flying)

    def land(self) -> bool:
        """Note what is answered, only ever the oldest flights; tell whether any was. Raises what went wrong in one."""
        landed = False
        while self._flying and self._flying[0][1].done():
            flight, task = self._flying.popleft()
            task.result()
            self.pacing.leave(len(flight.records), flight.bytes)
            for index, changes in flight.changes.items():
                self._unwritten.setdefault(index, {}).update(changes)
            for partition, end in flight.ends.items():
                self.owned[partition].place.advance(end, flight.outputs[partition.number])
                self._dirty.add(partition)
            if self._flying:
                self._flying[0][0].before = None
            landed = True
        return landed

    async def first_landed(self, within_s: float) -> None:
        """Wait until the oldest flight is answered, so long at most."""
        if self._flying:
            await asyncio.wait([self._flying[0][1]], timeout=within_s)

    async def all_landed(self, within_s: float) -> None:
        """Wait until nothing is under way, so long at most, and note what is answered."""
        tasks = [task for _, task in self._flying]
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        self.land()

    def behind(self, ends: Mapping[Partition, int]) -> int:
        """Return how many records of the owned partitions, which end there, have not been sent off."""
        return sum(max(0, end - self.owned[p].next) for p, end in ends.items() if p in self.owned)

    def awaited(self) -> dict[Partition, float]:
        """Return where an acknowledgement is waited for, and since when at the longest."""
        longest: dict[Partition, float] = {}
        for flight, _ in self._flying:
            for partition, since_s in flight.awaited.items():
                longest[partition] = min(since_s, longest.get(partition, since_s))
        return longest

    def to_commit(self) -> dict[Partition, Committed]:
        """Hand over, once, the places that have moved, as they are: more may land while they are committed."""
        moved, self._dirty = self._dirty, set()
        return {partition: self.owned[partition].place.committed() for partition in moved if partition in self.owned}

    def not_committed(self, places: Mapping[Partition, Committed]) -> None:
        """Take places back that were not committed, where they are owned still."""
        self._dirty |= places.keys() & self.owned.keys()

    def to_remember(self) -> Mapping[int, Changes]:
        """Hand over, once, what the stages remember of what is answered, by stage."""
        unwritten, self._unwritten = self._unwritten, {}
        return unwritten

    async def abandon(self) -> None:
        """Forget everything: whoever comes next finds in the outputs how far it got."""
        tasks = [task for _, task in self._flying]
        self._flying.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            for task in tasks:
                _ = task.cancelled() or task.exception()
        self.owned.clear()
        self._dirty.clear()
        self._unwritten.clear()
        for stage in self.route.stages:
            if stage.memory is not None:
                stage.memory.forget()
        self.pacing.clear()
