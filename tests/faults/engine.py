"""The real engine over a log in memory, crashed where a plan says; with a ledger, and seams where bugs are put in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.drill.light import pipeline as light
from guidevane.drill.light import reading
from guidevane.errors import Retryable
from guidevane.ledger import Allowance, Commit, Ledger, Verdict, held_of, judge
from guidevane.log import Fetch, Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.retry import Backoff
from guidevane.runtime.worker import Limits, Worker
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import LocalMembers, hot_stages

PARTITIONS, KEYS = 2, 5
GROUP = "drill.fused"
FAST = Limits(
    fetch=Fetch(max_records=7),
    poll_s=0.002,
    commit_every_s=0.0,
    drain_s=2.0,
    gather_s=0.0005,
    backoff=Backoff(0.0005, 0.001),
)
MEMBERS = LocalMembers(light)
CLOCK = SystemClock()
CATALOGUE = Catalogue()
CATALOGUE.learn(light.event)
CODEC = Codec(CATALOGUE)
# What a reading must be to break the contract, and to meet the bug in our preprocess stage.
BAD_VALUE, CURSED_VALUE = 300.0, 42.0


class Crash(BaseException):
    """As kill -9: nothing of the process runs on."""


class Through:
    """Passes everything on; what a subclass defines, it does instead."""

    def __init__(self, inner, rig=None):
        self.inner, self.rig = inner, rig

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Seam(Through):
    """A log whose consumers and producers can be replaced."""

    Consumer = Through
    Producer = Through

    def consumer(self, topics, **told):
        return self.Consumer(self.inner.consumer(topics, **told), self.rig)

    async def producer(self, *, name):
        return self.Producer(await self.inner.producer(name=name), self.rig)


class RecordedConsumer(Through):
    async def commit(self, offsets):
        await self.inner.commit(offsets)
        topics = light.topics
        for partition, place in offsets.items():
            ends = {t: len(self.rig.log.topic(t)[partition.number]) for t in (topics.decisions, topics.dlq)}
            self.rig.commits.append(Commit(GROUP, partition.topic, partition.number, place.offset, ends))


class Recorded(Seam):
    """Sees every commit as the log sees it: whatever is wrong with it was done above."""

    Consumer = RecordedConsumer


@dataclass
class Rig:
    """One run: the log, the ledger beside it, the commits that were seen, and the bug that is in it."""

    plan: dict[object, str] = field(default_factory=dict)
    """What happens at which append: the n-th of all, or the n-th to a topic."""
    seam: type[Seam] = Seam
    stages: Callable[[list], list] = lambda stages: stages
    log: MemoryLog = field(default_factory=lambda: MemoryLog(PARTITIONS))
    ledger: Ledger = field(default_factory=Ledger)
    commits: list[Commit] = field(default_factory=list)
    lives: int = 0
    appended: int = 0
    by_topic: Counter = field(default_factory=Counter)
    dead: bool = False

    async def produce(self, values: Sequence[float], *, twice: Sequence[int] = ()) -> None:
        encode = CODEC.encoder(light.event.name, version=light.event.version)
        for i in [*range(len(values)), *twice]:
            key, event_id = b"m%d" % (i % KEYS), f"e{i}"
            expects = {BAD_VALUE: "out_of_range", CURSED_VALUE: "bug"}.get(values[i], "")
            if event_id not in self.ledger.entries:
                self.ledger.sent(event_id, due_us=CLOCK.now_us(), key=key, expects=expects)
            number = i % KEYS % PARTITIONS
            body = encode(reading(event_id, key.decode(), values[i]))
            at = await self.log.append(
                light.topics.events, number, [Message(key, body, (("event_id", event_id.encode()),))]
            )
            self.ledger.acknowledged(event_id, number, at)

    def worker(self, instance: str = "one") -> Worker:
        metrics = Metrics("drill", "test", instance)
        stages = [_cursed(s) for s in hot_stages(light, MEMBERS, CODEC, clock=CLOCK, metrics=metrics)]
        return Worker(
            self.stages(stages), log=self.seam(Recorded(self.log, self), self), dlq=light.topics.dlq, group=GROUP,
            instance=instance, clock=CLOCK, metrics=metrics, health=Health(CLOCK), limits=FAST,
        )  # fmt: skip

    @property
    def committed(self) -> int:
        # The furthest that was seen: a seeded bug may take it back.
        furthest: dict[int, int] = {}
        for commit in self.commits:
            furthest[commit.partition] = max(commit.offset, furthest.get(commit.partition, 0))
        return sum(furthest.values())

    async def run(self) -> None:
        """Run lives one after another, each until it crashes, or until all is committed and drained."""
        count = len(self.log.records(light.topics.events))
        append = self.log.append
        self.log.append = self._sabotaged(append)
        async with asyncio.timeout(60):
            while True:
                self.dead, self.lives = False, self.lives + 1
                stop = asyncio.Event()
                life = asyncio.create_task(self.worker().run(stop))
                while not life.done() and self.committed < count:
                    await asyncio.sleep(0.001)
                if not life.done():
                    stop.set()
                await asyncio.wait([life])
                if life.exception() is None:
                    break
                if not isinstance(life.exception(), Crash):
                    raise life.exception()
                for member in list(self.log.groups[GROUP].members):
                    self.log.groups[GROUP].evict(member)
        self.log.append = append

    def _sabotaged(self, append):
        async def sabotaged(topic, partition, messages):
            if self.dead:
                raise Crash
            self.appended += 1
            self.by_topic[topic] += 1
            match self.plan.get(self.appended) or self.plan.get((topic, self.by_topic[topic])):
                case "crash before":
                    self.dead = True
                    raise Crash
                case "crash after":
                    await append(topic, partition, messages)
                    self.dead = True
                    raise Crash
                case "timeout before":
                    raise Retryable("no answer, and not written")
                case "timeout after":
                    await append(topic, partition, messages)
                    raise Retryable("no answer, but written")
            return await append(topic, partition, messages)

        return sabotaged

    async def verdict(self, allowing: Allowance | None = None) -> Verdict:
        held = await held_of(self.log, light.topics, commits=self.commits)
        return judge(self.ledger.entries, held, allowing=allowing)


def _cursed(stage):
    """Put a bug into preprocess that a certain reading meets, as an author's feature may have one."""
    if stage.name != "preprocess":
        return stage

    async def handle(records):
        # What was taken over comes without a body: it is read from the log.
        bodies = [record.body or CODEC.decode("accepted", record.value, record.headers) for record in records]
        rows = [CODEC.decode(light.event.name, body["event"]) for body in bodies]
        if any(row["value"] == CURSED_VALUE for row in rows):
            raise ZeroDivisionError("cursed")
        return await stage.handle(records)

    return replace(stage, handle=handle)


def in_stage(name: str, wrap):
    """Return what replaces the handler of one stage."""

    def stages(before):
        return [replace(s, handle=wrap(s.handle)) if s.name == name else s for s in before]

    return stages
