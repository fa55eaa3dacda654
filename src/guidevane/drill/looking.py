"""Looking at the groups' commits while faults go on, as an operator could."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.errors import GuidevaneError
from guidevane.ledger import Commit
from guidevane.log import Partition
from guidevane.log.kafka.placed import PLACES, placed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.log import Log
    from guidevane.log.kafka import KafkaOperator
    from guidevane.topics import Topics

_EVERY_S = 0.4
LOOK_WITHIN_S = 3.0
"""How long one request may take; a client that is cut short before learns nothing of it."""
_WITHIN_S = 4 * LOOK_WITHIN_S


def groups_of(pipeline: str, topics: Topics, *, fused: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return, by group of the hot path, the topic it reads and the topics that may hold its answers."""
    if fused:
        return {f"{pipeline}.fused": (topics.events, (topics.decisions, topics.dlq))}
    chain = (topics.events, topics.accepted, topics.features, topics.predictions, topics.decisions)
    rooms = ("ingest", "preprocess", "inference", "postprocess")
    return {f"{pipeline}.{room}": (chain[index], (chain[index + 1], topics.dlq)) for index, room in enumerate(rooms)}


@dataclass(slots=True)
class Looking:
    """Takes down every place that it sees."""

    log: Log
    operator: KafkaOperator
    groups: Mapping[str, tuple[str, tuple[str, ...]]]
    seen: list[Commit] = field(default_factory=list)

    async def run(self) -> None:
        """Look again and again, until cancelled; while the broker is away there is nothing to see."""
        while True:
            for group, (topic, answers) in self.groups.items():
                with suppress(GuidevaneError, TimeoutError):
                    async with asyncio.timeout(_WITHIN_S):
                        await self._look(group, topic, answers)
            await asyncio.sleep(_EVERY_S)

    async def _look(self, group: str, topic: str, answers: tuple[str, ...]) -> None:
        places = await self.operator.places(group)
        # Asked after the commit was seen: what it stands for must be there by now.
        ends = {answer: await self.log.ends(answer) for answer in answers}
        for partition, place in sorted(places.items()):
            if partition.topic == topic:
                number = partition.number
                at = {answer: of.get(number, 0) for answer, of in ends.items()}
                self.seen.append(Commit(group, topic, number, place.offset, at))

    def take(self) -> list[Commit]:
        """Return what was seen since the last time."""
        seen, self.seen = self.seen, []
        return seen

    async def placed(self, log: Log, since: Mapping[int, int]) -> list[Commit]:
        """Return all that the groups have committed behind these ends of Kafka's topic of places, with all patience."""
        found: list[Commit] = []
        for number, end in sorted((await log.ends(PLACES)).items()):
            start = since.get(number, 0)
            for record in await log.read(Partition(PLACES, number), start, end) if start < end else ():
                at = placed(record)
                if at is not None and at.group in self.groups and at.partition.topic == self.groups[at.group][0]:
                    found.append(Commit(at.group, *at.partition, at.offset, {}))
        return found
