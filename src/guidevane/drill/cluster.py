"""What goes wrong with several brokers, and each fault of it declared once (``guidevane drill --cluster``)."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from guidevane.drill.fault import Fault
from guidevane.drill.waiting import until
from guidevane.errors import Misconfigured, Retryable
from guidevane.local.platform import rooms_of
from guidevane.log.kafka.survey import INTERNAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guidevane.drill.brokers import Brokers
    from guidevane.drill.scene import Scene
    from guidevane.local.platform import Rooms

T = TypeVar("T")
CLUSTER_S = 30.0
# Clients give up a broker that says nothing after a request's time, and may ask the same one next who leads.
HANG_S = 90.0
AWAY_S = 12.0
MOVED_S = 3.0
STOPPED_S = 20.0
_IN_SYNC_WITHIN_S = 90.0
_HEARD_WITHIN_S = 60.0


def cluster_faults_of(rooms: Rooms) -> tuple[Fault, ...]:
    """Return every fault of a cluster, for rooms apart or fused."""
    every = rooms_of(rooms)
    return (
        Fault(
            name="leaders-move", within_s=CLUSTER_S, mend=together, hurt=move_leaders,
            does="every partition is led by another broker, and again, those of places and transactions too",
        ),
        Fault(
            name="brokers-roll", does="every broker is told to stop and is started again, one after the other",
            within_s=CLUSTER_S, mend=together, hurt=roll_brokers,
        ),
        Fault(
            name="broker-lost", does="kill -9 of one broker; it is back when all is well without it",
            within_s=CLUSTER_S, mend=together, hurt=lose_broker,
        ),
        Fault(
            name="quorum-leader-lost", does="kill -9 of the broker that leads the controllers", within_s=CLUSTER_S,
            mend=together, hurt=lose_quorum_leader,
        ),
        Fault(
            name="brokers-lost", within_s=CLUSTER_S, mend=together, hurt=lose_two,
            does=f"kill -9 of two brokers at once, for {AWAY_S:.0f} s: no majority, and nothing can be written",
        ),
        Fault(
            name="broker-still", does=f"SIGSTOP of one broker, for {STOPPED_S:.0f} s", within_s=CLUSTER_S,
            mend=together, hurt=stop_broker,
        ),
        Fault(
            name="broker-hangs", does="SIGSTOP of one broker, for good: its connections stay open", within_s=HANG_S,
            mend=wake_broker, hurt=hang_broker,
        ),
        Fault(
            name="replicas-short", within_s=CLUSTER_S, mend=together, hurt=ask_for_three,
            does=f"min.insync.replicas is 3 everywhere for {AWAY_S:.0f} s while one broker is away: writes are refused",
        ),
        Fault(
            name="bootstrap-gone", within_s=CLUSTER_S, rooms=every, mend=together,
            hurt=partial(roll_without_bootstrap, rooms=every),
            does="kill -9 of the broker whose address comes first, then every room is started again without it",
        ),
    )  # fmt: skip


async def move_leaders(scene: Scene) -> None:
    """Take every partition's leader out of its replicas, then give it back as the last one of them."""
    brokers = _brokers(scene)
    before = await _until_heard(scene.operator.layout)
    away = {partition: each.brokers[1:] for partition, each in before.items()}
    back = {partition: (*each.brokers[:0:-1], each.brokers[0]) for partition, each in before.items()}
    await _until_heard(lambda: scene.operator.move(away))
    await asyncio.sleep(MOVED_S)
    await _until_heard(lambda: scene.operator.move(back))
    await _in_sync(scene, brokers)


async def roll_brokers(scene: Scene) -> None:
    """Stop and start every broker, each when the one before it has caught up."""
    brokers = _brokers(scene)
    for number in brokers.numbers:
        await brokers.stop([number])
        await brokers.start([number])
        await _in_sync(scene, brokers)


async def lose_broker(scene: Scene) -> None:
    """Kill one broker."""
    brokers = _brokers(scene)
    await brokers.kill([scene.draws.choice(brokers.numbers)])


async def lose_quorum_leader(scene: Scene) -> None:
    """Kill the leader of the controllers."""
    brokers = _brokers(scene)
    await brokers.kill([brokers.quorum_leader()])


async def lose_two(scene: Scene) -> None:
    """Kill two brokers; start them again after a while."""
    brokers = _brokers(scene)
    lost = scene.draws.sample(brokers.numbers, 2)
    await brokers.kill(lost)
    await asyncio.sleep(AWAY_S)
    await brokers.start(lost)


async def stop_broker(scene: Scene) -> None:
    """Let one broker stand still: its connections stay open, and nobody answers."""
    brokers = _brokers(scene)
    still = [scene.draws.choice(brokers.numbers)]
    brokers.send(signal.SIGSTOP, still)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        brokers.send(signal.SIGCONT, still)


async def hang_broker(scene: Scene) -> None:
    """Let one broker stand still from now on."""
    brokers = _brokers(scene)
    brokers.send(signal.SIGSTOP, [scene.draws.choice(brokers.numbers)])


async def wake_broker(scene: Scene) -> None:
    """Let every broker go on, and wait until every replica has everything."""
    brokers = _brokers(scene)
    brokers.send(signal.SIGCONT, brokers.numbers)
    await together(scene)


async def ask_for_three(scene: Scene) -> None:
    """Ask for three replicas in sync where there are two."""
    brokers = _brokers(scene)
    pipeline = scene.platform.pipeline
    usual = {spec.name: dict(spec.settings) for spec in pipeline.topics.specs(pipeline.partitions)}
    there = {partition.topic for partition in await _until_heard(scene.operator.layout)}
    usual |= {topic: {"cleanup.policy": "compact", "min.insync.replicas": "2"} for topic in INTERNAL if topic in there}
    await brokers.kill([scene.draws.choice(brokers.numbers)])
    try:
        for topic, settings in usual.items():
            short = {**settings, "min.insync.replicas": "3"}
            await _until_heard(partial(scene.operator.configure, topic, short))
        await asyncio.sleep(AWAY_S)
    finally:
        for topic, settings in usual.items():
            await _until_heard(partial(scene.operator.configure, topic, settings))


async def roll_without_bootstrap(scene: Scene, *, rooms: tuple[str, ...]) -> None:
    """Take away the first address that anybody answers at, then start every room again."""
    brokers = _brokers(scene)
    await brokers.kill([brokers.numbers[0]])
    for room in rooms:
        await scene.platform.restart(room)
        await scene.wait_ready((room,), 60.0)


async def together(scene: Scene) -> None:
    """Start whoever is away, and wait until every replica has everything. Raises ``Misconfigured``."""
    brokers = _brokers(scene)
    await brokers.start(brokers.numbers)
    await _in_sync(scene, brokers)


def _brokers(scene: Scene) -> Brokers:
    if scene.brokers is None:
        raise Misconfigured("this fault wants several brokers → guidevane drill --cluster")
    return scene.brokers


async def _in_sync(scene: Scene, brokers: Brokers) -> None:
    async def every() -> bool:
        try:
            layout = await scene.operator.layout()
        except Retryable:
            return False
        return all(
            each.leader > 0 and len(each.brokers) == len(each.in_sync) == len(brokers.numbers)
            for each in layout.values()
        )

    if not await until(every, _IN_SYNC_WITHIN_S):
        raise Misconfigured(f"the brokers are not in sync within {_IN_SYNC_WITHIN_S:.0f} s")


async def _until_heard(call: Callable[[], Awaitable[T]]) -> T:
    """Ask until a broker answers: an operator's client may take one that is away."""
    heard: list[T] = []

    async def ask() -> bool:
        try:
            heard.append(await call())
        except Retryable:
            return False
        return True

    if not await until(ask, _HEARD_WITHIN_S):
        raise Misconfigured(f"no broker answers within {_HEARD_WITHIN_S:.0f} s")
    return heard[0]
