"""Bugs, each put into the real engine at a seam: what a careless change could do to it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.engine import FAST, Seam, Through, in_stage, light

from guidevane.errors import Reject
from guidevane.ledger import Oracle
from guidevane.log import Committed, Message, Partition

TOPICS = light.topics


@dataclass(frozen=True)
class Bug:
    """What is wrong, and which oracles must say so."""

    name: str
    caught_by: frozenset[Oracle]
    seam: type[Seam] = Seam
    stages: Callable[[list], list] = lambda stages: stages


def acknowledged(offset: int):
    done = asyncio.get_running_loop().create_future()
    done.set_result(offset)
    return done


def log_with(*, consumer: type = Through, producer: type = Through) -> type[Seam]:
    return type("Buggy", (Seam,), {"Consumer": consumer, "Producer": producer})


class CommitFirst(Through):
    async def fetch(self, *, timeout_s, most=None):
        found = await self.inner.fetch(timeout_s=timeout_s, most=most)
        await self.inner.commit({p: Committed(records[-1].offset + 1) for p, records in found.items()})
        return found

    async def commit(self, offsets):
        pass


class LostFlush(Through):
    """Says that it is written, and writes it with the next batch for the topic."""

    held = None

    async def post(self, topic, partition, messages):
        self.held = self.held or {}
        held = self.held.get(topic)
        self.held[topic] = (topic, partition, messages)
        if held is not None:
            await (await self.inner.post(*held))
        return acknowledged(len(self.rig.log.topic(topic)[partition]))


class WrongPartition(Through):
    async def post(self, topic, partition, messages):
        number = 1 - partition if topic == TOPICS.decisions else partition
        return await self.inner.post(topic, number, messages)


class WrongKey(Through):
    async def post(self, topic, partition, messages):
        if topic == TOPICS.decisions:
            messages = [m._replace(key=dict(m.headers)["event_id"]) for m in messages]
        return await self.inner.post(topic, partition, messages)


class Twice(Through):
    async def post(self, topic, partition, messages):
        await self.inner.post(topic, partition, messages)
        return await self.inner.post(topic, partition, messages)


class NoLetters(Through):
    async def post(self, topic, partition, messages):
        if topic == TOPICS.dlq:
            return acknowledged(len(self.rig.log.topic(topic)[partition]))
        return await self.inner.post(topic, partition, messages)


class Overtaking(Through):
    async def post(self, topic, partition, messages):
        return await self.inner.post(topic, partition, list(reversed(messages)))


class BareLetters(Through):
    async def post(self, topic, partition, messages):
        if topic == TOPICS.dlq:
            messages = [
                m._replace(headers=tuple(h for h in m.headers if not h[0].startswith("__dlq"))) for m in messages
            ]
        return await self.inner.post(topic, partition, messages)


class AlteredLetters(Through):
    async def post(self, topic, partition, messages):
        if topic == TOPICS.dlq:
            messages = [m._replace(value=(m.value or b"").decode("utf-8", "replace").encode()) for m in messages]
        return await self.inner.post(topic, partition, messages)


class Haunted(Through):
    async def post(self, topic, partition, messages):
        if topic == TOPICS.decisions:
            messages = [*messages, Message(b"k", b"boo", (("event_id", b"nobody"), ("gv.origin", b"0")))]
        return await self.inner.post(topic, partition, messages)


class CommitGap(Through):
    """Commits what was fetched, not the prefix that is answered."""

    async def commit(self, offsets):
        await self.inner.commit({p: place._replace(offset=self.inner.positions[p]) for p, place in offsets.items()})


class CommitBack(Through):
    """A stale commit that comes late, between two that are right."""

    async def commit(self, offsets):
        await self.inner.commit(offsets)
        await self.inner.commit({p: place._replace(offset=max(0, place.offset - 3)) for p, place in offsets.items()})
        await self.inner.commit(offsets)


class Amnesia(Seam):
    """Takes partitions over without reading what was answered."""

    async def read(self, partition: Partition, start: int, stop: int | None = None) -> Sequence[object]:
        return []


def swallowing(handle):
    async def careless(records):
        try:
            return await handle(records)
        except Exception:  # noqa: BLE001 - this is the bug
            return [None] * len(records)

    return careless


def killing(handle):
    async def strict(records):
        found = await handle(records)
        return [Reject("too_slow", "no patience") if r.offset % 11 == 3 or r.origin == 3 else x
                for r, x in zip(records, found, strict=True)]  # fmt: skip

    return strict


def crowded(handle):
    """No bug: members that answer a batch once the next one has come, so that one is always under way."""
    came: list[asyncio.Event] = []

    async def slow(records):
        if came:
            came[-1].set()
        came.append(asyncio.Event())
        # Behind the last batch comes none.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await came[-1].wait()
        return await handle(records)

    return slow


COUNTER = itertools.count()


def drifting(handle):
    async def moody(records):
        return [m._replace(value=m.value + b"%d" % next(COUNTER)) for m in await handle(records)]

    return moody


def forgetful(handle):
    async def without_memory(records):
        handle.window.ids.clear()
        handle.window.holders.clear()
        # One by one: what a batch knows of itself is not what is tested.
        return [(await handle([record]))[0] for record in records if handle.window.holders.clear() is None]

    return without_memory


BUGS = (
    Bug("commit first", frozenset({Oracle.COMMIT, Oracle.LOST}), log_with(consumer=CommitFirst)),
    Bug("lost flush", frozenset({Oracle.LOST}), log_with(producer=LostFlush)),
    Bug("wrong partition", frozenset({Oracle.KEY}), log_with(producer=WrongPartition)),
    Bug("wrong key", frozenset({Oracle.KEY}), log_with(producer=WrongKey)),
    Bug("swallowed exception", frozenset({Oracle.LOST}), stages=in_stage("preprocess", swallowing)),
    Bug("double decision", frozenset({Oracle.REPEAT}), log_with(producer=Twice)),
    Bug("dropped dead letter", frozenset({Oracle.LOST}), log_with(producer=NoLetters)),
    Bug("commit gap", frozenset({Oracle.COMMIT}), log_with(consumer=CommitGap), in_stage("inference", crowded)),
    Bug("commit going back", frozenset({Oracle.COMMIT}), log_with(consumer=CommitBack)),
    Bug("no takeover", frozenset({Oracle.REPEAT}), Amnesia),
    Bug("no takeover, and answers that drift", frozenset({Oracle.REPEAT, Oracle.CONFLICT}), Amnesia,
        in_stage("postprocess", drifting)),
    Bug("overtaking", frozenset({Oracle.ORDER}), log_with(producer=Overtaking)),
    Bug("dead letters without reason", frozenset({Oracle.LETTER}), log_with(producer=BareLetters)),
    Bug("dead letters altered", frozenset({Oracle.LETTER}), log_with(producer=AlteredLetters)),
    Bug("innocents killed", frozenset({Oracle.EXPECTED}), stages=in_stage("inference", killing)),
    Bug("a decision from nowhere", frozenset({Oracle.GHOST}), log_with(producer=Haunted)),
    Bug("no deduplication", frozenset({Oracle.REPEAT}), stages=in_stage("ingest", forgetful)),
)  # fmt: skip

__all__ = ["BUGS", "FAST", "Bug"]
