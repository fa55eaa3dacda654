"""What faults do: each deed hurts something, or mends it again, and returns when it is over."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, cast

import httpx

from guidevane.control.audit import verify
from guidevane.drill.waiting import until
from guidevane.errors import Misconfigured
from guidevane.log import Partition
from guidevane.topics import AUDIT

if TYPE_CHECKING:
    from guidevane.drill.scene import Scene
    from guidevane.events import Audit

PAUSE_S = 4.0
SPELL_S = 6.0
BEYOND_SESSION_S = 3.0


async def kill(scene: Scene, *, parts: tuple[str, ...]) -> None:
    """Kill parts at once."""
    scene.send(signal.SIGKILL, *parts)


async def tell(scene: Scene, *, parts: tuple[str, ...], number: signal.Signals) -> None:
    """Send parts a signal."""
    scene.send(number, *parts)


async def pause(scene: Scene, *, seconds: float, parts: tuple[str, ...]) -> None:
    """Stop parts for a while."""
    await scene.pause(seconds, *parts)


async def make_zombie(scene: Scene, *, room: str) -> None:
    """Stop one of two members of a room for longer than its session, and wake it again."""
    zombie = await scene.rival(room)
    # Wait for it to be at work: with both ready, each has its share of the partitions.
    await scene.wait_ready((room,), scene.session_s * 3)
    await asyncio.sleep(scene.draws.uniform(0.2, 1.0))
    scene.kill([zombie], signal.SIGSTOP)
    await asyncio.sleep(scene.session_s + BEYOND_SESSION_S)
    scene.kill([zombie], signal.SIGCONT)


async def dismiss(scene: Scene) -> None:
    """Let the second member go."""
    await scene.dismiss()


async def roll(scene: Scene, *, rooms: tuple[str, ...]) -> None:
    """Start every room again, in order, one after the other."""
    for room in rooms:
        await scene.platform.restart(room)
        await scene.wait_ready((room,), 60.0)


async def pause_broker(scene: Scene) -> None:
    """Stop the broker for longer than the rooms' session."""
    await scene.pause(scene.session_s + BEYOND_SESSION_S, "kafka")


async def bounce_broker(scene: Scene) -> None:
    """Kill the broker, and again when it is back."""
    first = scene.pid("kafka")
    scene.send(signal.SIGKILL, "kafka")

    async def back() -> bool:
        # It is written down again when it is ready.
        return scene.pid("kafka") != first

    if not await until(back, 60.0):
        raise Misconfigured("the broker did not come back after the first kill")
    scene.send(signal.SIGKILL, "kafka")


async def replica(scene: Scene, *, number: signal.Signals) -> None:
    """Send a signal to one replica of one deployment."""
    deployment = scene.draws.choice(list(scene.platform.pipeline.ensemble.deployments))
    replicas = await scene.find(f"ServeReplica:{scene.platform.pipeline.name}:{deployment}")
    scene.kill(replicas[:1], number)


async def kill_serve_controller(scene: Scene) -> None:
    """Kill Serve's controller."""
    scene.kill(await scene.find("ServeController"))


async def kill_ray(scene: Scene) -> None:
    """Kill everything that the Ray head leads."""
    leader = scene.pid("ray")
    every = await scene.find("")
    scene.kill([pid for pid in every if _session(pid) == leader])


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


async def cut(scene: Scene) -> None:
    """Let nothing pass for longer than the rooms' session."""
    scene.wire.cut()
    await asyncio.sleep(scene.session_s + BEYOND_SESSION_S)
    scene.wire.mend()


async def delay(scene: Scene) -> None:
    """Hold every byte back for a while."""
    scene.wire.delay_s = 0.15
    await asyncio.sleep(SPELL_S)
    scene.wire.mend()


async def reset(scene: Scene) -> None:
    """Close every connection, three times."""
    for _ in range(3):
        await scene.wire.reset()
        await asyncio.sleep(0.5)


async def reconnect(scene: Scene) -> None:
    """Let everything pass."""
    scene.wire.mend()


async def duplicates(scene: Scene, *, room: str) -> None:
    """Send half of the events twice, and kill a room among them."""
    scene.load.again_share = 0.5
    await asyncio.sleep(SPELL_S / 2)
    scene.send(signal.SIGKILL, room)
    await asyncio.sleep(SPELL_S / 2)
    scene.load.again_share = 0.0


async def storm(scene: Scene) -> None:
    """Join the rooms' groups and leave them, again and again."""
    topics = scene.platform.pipeline.topics
    read = (topics.events, topics.accepted, topics.features, topics.predictions)
    for _ in range(6):
        room = scene.draws.randrange(len(scene.hot))
        await scene.disturb(f"{scene.platform.pipeline.name}.{scene.hot[room]}", read[room], 0.3)


async def burst(scene: Scene) -> None:
    """Send ten times as much for a while."""
    usual = scene.load.rate_per_s
    scene.load.rate_per_s = 10 * usual
    await asyncio.sleep(4.0)
    scene.load.rate_per_s = usual


async def slow(scene: Scene, *, room: str) -> None:
    """Let a room run a quarter of the time."""
    for _ in range(int(SPELL_S / 0.4)):
        await scene.pause(0.3, room)
        await asyncio.sleep(0.1)


async def skew(scene: Scene, *, offset_s: float) -> None:
    """Give the rooms on an event's way a wrong clock."""
    for room in scene.hot:
        await scene.platform.restart(room, GUIDEVANE_CLOCK_OFFSET_S=str(offset_s))
    for room in scene.hot:
        await scene.wait_ready((room,), 60.0)


async def right_clocks(scene: Scene) -> None:
    """Give them the right one."""
    for room in scene.hot:
        await scene.platform.restart(room)
    for room in scene.hot:
        await scene.wait_ready((room,), 60.0)


async def fill_disk(scene: Scene) -> None:
    """Leave no room on the broker's disk for a while. Raises ``Misconfigured`` where there is no small disk."""
    if scene.disk is None:
        raise Misconfigured("disk-full needs root on Linux: it mounts a small disk under the broker")
    scene.disk.fill()
    await asyncio.sleep(SPELL_S)
    scene.disk.empty()


async def empty_disk(scene: Scene) -> None:
    """Make room."""
    if scene.disk is not None:
        scene.disk.empty()


async def no_letters(scene: Scene) -> None:
    """Let the dead-letter topic take nothing for a while, and send more that must die."""
    # Room for a transaction's marker (78 bytes), and for no letter: a broker that cannot even write
    # the marker of an abort leaves the transactional id in the middle of it, until it is restarted.
    pipeline = scene.platform.pipeline
    (spec,) = (spec for spec in pipeline.topics.specs(pipeline.partitions) if spec.name == pipeline.topics.dlq)
    usual, scene.load.poison_share = scene.load.poison_share, 0.1
    await scene.operator.configure(pipeline.topics.dlq, {**spec.settings, "max.message.bytes": "100"})
    await asyncio.sleep(SPELL_S)
    await scene.operator.configure(pipeline.topics.dlq, spec.settings)
    scene.load.poison_share = usual


async def letters_again(scene: Scene) -> None:
    """Let it take everything."""
    pipeline = scene.platform.pipeline
    (spec,) = (spec for spec in pipeline.topics.specs(pipeline.partitions) if spec.name == pipeline.topics.dlq)
    await scene.operator.configure(pipeline.topics.dlq, spec.settings)


async def cut_change(scene: Scene) -> None:
    """Kill admin and controller while a change is under way."""
    url = f"{scene.platform.endpoints.admin}/v1/controller/pause"

    async def change() -> None:
        async with httpx.AsyncClient(timeout=5.0) as client:
            # Nobody may be left to answer: that is the fault.
            await client.post(url, json={"reason": "a change that is cut", "actor": "drill"})

    changing = asyncio.create_task(change())
    await asyncio.sleep(scene.draws.uniform(0.0, 0.05))
    scene.send(signal.SIGKILL, "admin", "controller")
    await asyncio.gather(changing, return_exceptions=True)


async def resume(scene: Scene) -> None:
    """Let the controller steer again."""
    await scene.wait_ready(("admin", "controller"), 60.0)
    url = f"{scene.platform.endpoints.admin}/v1/controller/resume"
    async with httpx.AsyncClient(timeout=10.0) as client:
        answer = await client.post(url, json={"reason": "the drill is over", "actor": "drill"})
        answer.raise_for_status()


async def audit_whole(scene: Scene) -> list[str]:
    """Return what is wrong with the audit's chain."""
    rows = [scene.codec.decode("audit", r.value, r.headers) for r in await scene.log.read(Partition(AUDIT, 0), 0)]
    broken = verify(cast("list[Audit]", rows))
    return [] if broken is None else [f"row {broken} of the audit breaks its chain"]
