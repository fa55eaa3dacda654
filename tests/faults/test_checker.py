"""The checker, before it judges anything: silent on the honest engine, whatever crashes; loud on every seeded bug."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faults.bugs import BUGS, Bug
from tests.faults.engine import BAD_VALUE, CURSED_VALUE, GROUP, Rig, in_stage, light

from guidevane.clock import SystemClock
from guidevane.ledger import Allowance, Commit, Oracle, held_of, judge
from guidevane.log.memory import Group

faults = st.dictionaries(
    st.integers(1, 60), st.sampled_from(["crash before", "crash after", "timeout before", "timeout after"]), max_size=10
)
values = st.lists(
    st.one_of(st.floats(0, 100).filter(lambda v: v != CURSED_VALUE), st.sampled_from([BAD_VALUE, CURSED_VALUE])),
    min_size=1, max_size=50,
)  # fmt: skip


@given(values, faults, st.data())
def test_the_checker_is_silent_on_the_honest_engine_wherever_it_crashes(given_values, plan, data):
    twice = data.draw(st.lists(st.sampled_from(range(len(given_values))), max_size=5))
    # What breaks the contract has no id that could be known again: each copy dies.
    twice = [i for i in twice if given_values[i] not in (BAD_VALUE, CURSED_VALUE)]

    async def scenario():
        rig = Rig(plan)
        await rig.produce(given_values, twice=twice)
        await rig.run()
        return await rig.verdict()

    verdict = asyncio.run(scenario())
    assert verdict.findings == ()
    assert verdict.decisions + verdict.dead_letters == verdict.events == len(given_values)


def stream(count: int = 80) -> list[float]:
    draws = random.Random(7)
    special = {13: BAD_VALUE, 29: CURSED_VALUE, 47: BAD_VALUE}
    return [special.get(i, round(draws.uniform(0, 41), 3)) for i in range(count)]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
async def test_the_checker_catches(bug: Bug):
    topics = light.topics
    crashes = {(topics.accepted, 3): "before", (topics.features, 9): "before", (topics.decisions, 2): "after",
               (topics.decisions, 5): "before", (topics.decisions, 9): "after", (topics.dlq, 2): "after"}  # fmt: skip
    rig = Rig({where: f"crash {when}" for where, when in crashes.items()}, bug.seam, bug.stages)
    await rig.produce(stream(), twice=[5, 6, 7])
    await rig.run()
    said = (await rig.verdict()).counts()
    assert {str(oracle) for oracle in bug.caught_by} <= said.keys(), said


async def asleep(rig: Rig, *, fenced: bool) -> None:
    """Put a worker to sleep between its work and its answer, for longer than its session; a rival works meanwhile."""
    slept_s, rivals = [0.0], asyncio.Queue()
    group = rig.log.groups.setdefault(GROUP, Group(rig.log))

    class Sleepy(SystemClock):
        def monotonic_s(self):
            return super().monotonic_s() + slept_s[0]

    def dozing(handle):
        async def handled(records):
            found = await handle(records)
            if not slept_s[0]:
                slept_s[0] = 60.0
                for member in list(group.members):
                    group.evict(member)
                rig.stages = lambda stages: stages
                rival = asyncio.create_task(rig.run())
                rivals.put_nowait(rival)
                await asyncio.shield(rival)
            return found

        return handled

    rig.stages = in_stage("postprocess", dozing)
    made = rig.worker("zombie")
    made.clock = made.fence.clock = Sleepy()
    if not fenced:
        made.fence.check = lambda: None
    stop = asyncio.Event()
    zombie = asyncio.create_task(made.run(stop))
    async with asyncio.timeout(60):
        await (await rivals.get())
        # Fenced, it starts over, a member like any other.
        while fenced and not group.members:
            await asyncio.sleep(0.001)
    stop.set()
    await zombie


async def test_a_zombie_that_is_fenced_repeats_nothing():
    rig = Rig()
    await rig.produce(stream())
    await asleep(rig, fenced=True)
    assert (await rig.verdict()).findings == ()


async def test_the_checker_catches_a_zombie_without_a_fence():
    rig = Rig()
    await rig.produce(stream())
    await asleep(rig, fenced=False)
    assert (await rig.verdict()).count(Oracle.REPEAT) > 0


async def test_a_commit_that_goes_back_is_told_and_excused_only_where_the_broker_forgot():
    rig = Rig()
    await rig.produce([1.0, 2.0])
    await rig.run()
    rig.commits += [Commit(GROUP, light.topics.events, 0, offset, {}) for offset in (0, -1, 0, -1)]
    held = await held_of(rig.log, light.topics, commits=rig.commits)
    told, excused = (
        judge(rig.ledger.entries, held, allowing=Allowance(places_forgotten=each)) for each in (False, True)
    )
    assert (told.count(Oracle.COMMIT), told.commits_back) == (excused.commits_back, excused.commits_back)
    assert excused.commits_back >= 2 and excused.ok


async def test_whether_a_place_went_back_kafkas_own_topic_tells_better_than_a_look():
    rig = Rig()
    await rig.produce([1.0, 2.0])
    await rig.run()
    of_old, behind = (
        [Commit(GROUP, light.topics.events, 0, offset, {}) for offset in each] for each in ((2, 1), (1, 2))
    )
    for seen, placed, told in ((of_old, behind, 0), (behind, of_old, 1)):
        held = await held_of(rig.log, light.topics, commits=seen, placed=placed)
        assert judge(rig.ledger.entries, held).commits_back == told


async def test_an_event_that_kafka_acknowledged_and_lost_is_told():
    rig = Rig()
    await rig.produce([1.0, 2.0])
    await rig.run()
    rig.ledger.sent("e9", due_us=0, key=b"m1")
    rig.ledger.acknowledged("e9", 0, 900)
    assert [(f.oracle, f.event_id) for f in (await rig.verdict()).findings] == [(Oracle.LOST, "e9")]


async def test_an_outcome_of_an_earlier_fault_is_a_repeat_not_a_ghost():
    rig = Rig()
    await rig.produce([1.0])
    await rig.run()
    held = await held_of(rig.log, light.topics)
    assert [f.oracle for f in judge({}, held, earlier={"e0"}).findings] == [Oracle.REPEAT]
    assert [f.oracle for f in judge({}, held).findings] == [Oracle.GHOST]
