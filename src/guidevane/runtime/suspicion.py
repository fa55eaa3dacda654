"""When an event may be what ends the room: its owners begin at one offset again and again, and get no further.

Who takes a partition over writes down that it begins there (``Place.begun``) before it handles a record. Where
somebody has begun there before and answered nothing, events are tried in a process that may end, before they are
handled in the one that must not (decision 0029).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from guidevane.runtime.handling import answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.log import Partition, Record
    from guidevane.runtime.places import Place
    from guidevane.runtime.stage import Result, Stage
    from guidevane.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class Suspicion:
    """Whether events are tried first: for ``span`` events from a takeover that gives reason, and from each culprit."""

    def __init__(self, stages: Sequence[Stage], span: int) -> None:
        self.useful = any(stage.trial is not None for stage in stages)
        self._span = span
        self._left = 0
        self._marked: dict[Partition, tuple[int, int]] = {}

    def taken_over(self, places: Mapping[Partition, Place]) -> None:
        """Look at the places that a life begins with."""
        for partition, place in places.items():
            marked = self._marked.pop(partition, None)
            if marked == (place.offset, place.begun):
                # That was this very process, and it did not die of it.
                place.begun -= 1
            if place.begun and self.useful:
                _log.warning(
                    "%d owners of %s/%d have begun at offset %d and got no further: the next %d events are tried in a "
                    "process of their own before they are handled",
                    place.begun, partition.topic, partition.number, place.offset, self._span,
                )  # fmt: skip
                self._left = self._span

    def unmarked(self, places: Mapping[Partition, Place]) -> dict[Partition, Place]:
        """Return, counting this owner among those who began there, the places where it has not said so yet."""
        new = {partition: place for partition, place in places.items() if partition not in self._marked}
        for partition, place in new.items():
            place.begun += 1
            self._marked[partition] = place.offset, place.begun
        return new

    async def answers(
        self, stage: Stage, records: Sequence[Record], *, clock: Clock, metrics: Metrics
    ) -> Sequence[Result]:
        """Return one result a record; those that its trial does not survive never meet the handler."""
        if not self._left or stage.trial is None:
            return await answers(stage, records, clock=clock, metrics=metrics)
        blamed = await stage.trial.culprits(records)
        self._left = self._span if blamed else max(0, self._left - len(records))
        innocent = [place for place in range(len(records)) if place not in blamed]
        handled = await answers(stage, [records[place] for place in innocent], clock=clock, metrics=metrics)
        found: dict[int, Result] = dict(zip(innocent, handled, strict=True))
        for place, why in blamed.items():
            _log.warning("an event is set aside: %s", why)
            found[place] = why
        return [found[place] for place in range(len(records))]
