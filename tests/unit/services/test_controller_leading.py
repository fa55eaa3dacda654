"""Given several controllers, or one that was away, then one leads, and counts what came once."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.services.controlled import GUIDE, World

from guidevane.clock import SystemClock
from guidevane.control.audit import verify
from guidevane.control.observation import HOT
from guidevane.errors import Fenced, Retryable
from guidevane.log.memory import MemoryPartition
from guidevane.services.controller.observe import Window
from guidevane.services.controller.service import FETCH, LEADS, Controller
from guidevane.topics import TELEMETRY


async def test_given_two_controllers_then_one_leads_and_the_other_takes_over_when_it_goes() -> None:
    world = World()
    world.clock = world.log.clock = SystemClock()
    world.silent = set(HOT)
    stops, running = [asyncio.Event(), asyncio.Event()], []
    first = await world.controller("one")
    second = await world.controller("two")
    await world.consumer.close()
    for live, stop, instance in zip((first, second), stops, ("one", "two"), strict=True):
        running.append(asyncio.create_task(live.run(stop, group="p.controller", instance=instance, every_s=0.01)))
        async with asyncio.timeout(5):
            while not live.ports.health.report()[0]:
                await asyncio.sleep(0)

    def says(live: Controller) -> list[str]:
        return live.ports.health.report()[1]["reasons"]

    async def until(live: Controller, reason: str) -> None:
        async with asyncio.timeout(5):
            while says(live) != [reason]:
                await asyncio.sleep(0)

    await until(first, "steering")
    await until(second, "another controller steers; this one waits")
    assert second.decided is None
    stops[0].set()
    await until(second, "steering")
    async with asyncio.timeout(5):
        while second.decided is None:
            await asyncio.sleep(0)
    stops[1].set()
    await asyncio.gather(*running)
    assert verify(world.audit()) is None


async def test_given_another_controller_that_joins_then_the_one_that_leads_counts_no_event_twice() -> None:
    world = World()
    live = await world.controller()
    for _ in range(8):
        await world.second()
    other = world.log.consumer([TELEMETRY], group="p.controller", instance="two", fetch=FETCH)
    await other.start()
    counts = []
    for _ in range(6):
        await world.second()
        counts += live.decided[0].counts

    assert LEADS in world.consumer.assignment()
    assert set(counts) == {world.rate // 2}


async def test_given_a_while_in_which_nothing_could_be_read_then_it_is_not_taken_for_no_events() -> None:
    world = World()
    world.session_s = 60.0
    live = await world.controller()
    for _ in range(5):
        await world.second()
    for _ in range(20):
        await world.speak()
    await live.recover(world.consumer)
    counts = []
    for _ in range(4):
        await world.second()
        counts += live.decided[0].counts

    assert set(counts) == {world.rate // 2}


async def test_given_telemetry_that_was_deleted_and_made_anew_then_it_starts_over() -> None:
    world = World()
    await world.controller()
    for _ in range(3):
        await world.second()
    world.log.topics[TELEMETRY] = [MemoryPartition()]
    world.consumer.seek(LEADS, 0)

    with pytest.raises(Retryable, match="ends before"):
        await world.second()


async def test_given_one_that_waits_then_it_hears_nothing_of_what_came_before_it_led() -> None:
    world = World()
    live = await world.controller()
    await world.consumer.close()
    for _ in range(8):
        await world.speak()
    waits = Controller("p", Window("p", {"deep": ("deep",)}), lambda: GUIDE, live.ports)
    consumer = world.log.consumer([TELEMETRY], group="p.controller", instance="two", fetch=FETCH)
    await consumer.start()
    await waits.listen(consumer, world.settings, within_s=0)
    await waits.recover(consumer)

    assert (await waits.observe()).ended == 0


async def test_given_a_process_that_stood_still_then_it_does_nothing_more_before_it_knows_who_leads() -> None:
    world = World(deep=1)
    live = await world.controller()
    await world.second()
    told = len(world.audit())
    world.clock.seconds += 60

    with pytest.raises(Fenced):
        await live.step()
    assert len(world.audit()) == told
    assert LEADS in world.consumer.assignment()
