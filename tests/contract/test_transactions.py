"""What the transactional mode leans on, held by the memory log and by the real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from guidevane.errors import Fenced, GuidevaneError
from guidevane.log import Committed, Log, Message, Partition, Transactions
from guidevane.log.memory import MemoryLog
from log_fixture import PARTITIONS, gather, settle

GROUP = "g"


async def opened(log: Log, topic: str, *, timeout_s: float = 30.0) -> Transactions:
    return await log.transactions(f"{GROUP}-{topic}-0", name="p", timeout_s=timeout_s)


@pytest.fixture
async def holder(log: Log, topic: str) -> AsyncIterator[Transactions]:
    made = await opened(log, topic)
    yield made
    await made.close()


async def values(log: Log, topic: str, number: int = 0) -> list[bytes | None]:
    return [r.value for r in await log.read(Partition(topic, number), 0)]


async def test_what_was_committed_is_seen_with_its_places(log: Log, topic: str, holder: Transactions):
    await holder.begin()
    first = [await (await holder.post(topic, n, [Message(b"k", b"a%d" % n), Message(None, b"b")])) for n in (0, 1)]
    await holder.commit(f"g-{topic}", {Partition(topic, 2): Committed(7, "p.out=3")})
    assert first == [0, 0]
    assert [await values(log, topic, n) for n in (0, 1)] == [[b"a0", b"b"], [b"a1", b"b"]]
    member = log.consumer([topic], group=f"g-{topic}")
    await member.start()
    await settle([member], topic)
    assert await member.committed(Partition(topic, 2)) == Committed(7, "p.out=3")
    await member.close()


async def test_what_was_aborted_is_never_seen_nor_its_places(log: Log, topic: str, holder: Transactions):
    await holder.begin()
    await holder.send(topic, 0, [Message(None, b"never")])
    await holder.abort()
    await holder.begin()
    await holder.send(topic, 0, [Message(None, b"seen")])
    await holder.commit(f"g-{topic}", {})
    assert await values(log, topic) == [b"seen"]
    reader = log.reader([topic])
    await reader.start()
    assert [r.value for r in await gather(reader, 1)] == [b"seen"]
    end = (await log.ends(topic))[0]
    assert reader.ends_seen()[Partition(topic, 0)] == end - 1, "a marker is no record"
    assert reader.position(Partition(topic, 0)) == end, "but it is read over"
    await reader.close()


async def test_a_reader_comes_to_the_end_of_a_partition_that_holds_nothing_to_be_seen(
    log: Log, topic: str, holder: Transactions
):
    await holder.begin()
    await holder.send(topic, 1, [Message(None, b"never")])
    await holder.abort()
    reader = log.reader([topic])
    await reader.start()
    end = (await log.ends(topic))[1]
    assert end > 0
    async with asyncio.timeout(20):
        while reader.position(Partition(topic, 1)) != end:
            assert await reader.fetch(timeout_s=0.05) == {}
    await reader.close()


async def test_a_partition_is_held_where_a_transaction_began_that_has_not_ended(
    log: Log, topic: str, holder: Transactions
):
    producer = await log.producer(name="p")
    await producer.send(topic, 0, [Message(None, b"before")])
    await holder.begin()
    await holder.send(topic, 0, [Message(None, b"open")])
    await producer.send(topic, 0, [Message(None, b"behind")])
    await producer.close()
    reader = log.reader([topic])
    await reader.start()
    assert [r.value for r in await gather(reader, 1)] == [b"before"]
    async with asyncio.timeout(20):
        while reader.held() != {Partition(topic, 0): 1}:
            assert await reader.fetch(timeout_s=0.05) == {}
    await holder.abort()
    assert [r.value for r in await gather(reader, 1)] == [b"behind"]
    assert reader.held() == {}
    await reader.close()


async def test_many_transactions_follow_each_other(log: Log, topic: str, holder: Transactions):
    for i in range(5):
        await holder.begin()
        await holder.send(topic, 0, [Message(None, b"%d" % i)])
        await holder.commit(f"g-{topic}", {Partition(topic, 1): Committed(i + 1)})
    assert await values(log, topic) == [b"%d" % i for i in range(5)]


async def test_a_transaction_of_places_alone_holds(log: Log, topic: str, holder: Transactions):
    await holder.begin()
    await holder.commit(f"g-{topic}", {Partition(topic, 0): Committed(4, "n")})
    member = log.consumer([topic], group=f"g-{topic}")
    await member.start()
    await settle([member], topic)
    assert await member.committed(Partition(topic, 0)) == Committed(4, "n")
    await member.close()


async def test_what_stands_behind_an_open_transaction_waits_for_it(log: Log, topic: str, holder: Transactions):
    plain = await log.producer(name="p")
    await holder.begin()
    await holder.send(topic, 0, [Message(None, b"one")])
    await plain.send(topic, 0, [Message(None, b"two")])
    reader = log.reader([topic])
    await reader.start()
    assert await gather(reader, 1, within_s=0.5) == []
    reading = asyncio.create_task(values(log, topic))
    await holder.commit(f"g-{topic}", {})
    assert [r.value for r in await gather(reader, 2)] == [b"one", b"two"]
    assert await reading == [b"one", b"two"]
    await reader.close()
    await plain.close()


async def test_who_opens_the_id_anew_fences_its_holder_and_aborts_what_it_had_open(log: Log, topic: str):
    zombie = await opened(log, topic)
    await zombie.begin()
    await zombie.send(topic, 0, [Message(None, b"the zombie's")])
    owner = await opened(log, topic)
    with pytest.raises(Fenced):
        await zombie.commit(f"g-{topic}", {Partition(topic, 1): Committed(99)})
    await owner.begin()
    await owner.send(topic, 0, [Message(None, b"the owner's")])
    await owner.commit(f"g-{topic}", {Partition(topic, 1): Committed(1)})
    assert await values(log, topic) == [b"the owner's"]
    await zombie.close()
    await owner.close()


async def test_a_zombie_between_two_transactions_is_fenced_when_it_writes(log: Log, topic: str):
    zombie = await opened(log, topic)
    await zombie.begin()
    await zombie.send(topic, 0, [Message(None, b"in time")])
    await zombie.commit(f"g-{topic}", {})
    owner = await opened(log, topic)
    await zombie.begin()
    with pytest.raises(Fenced):
        await zombie.send(topic, 0, [Message(None, b"too late")])
    assert await values(log, topic) == [b"in time"]
    await zombie.close()
    await owner.close()


async def test_what_became_of_places_is_known_to_who_opens_the_id_next(log: Log, topic: str):
    for i in range(3):
        owner = await opened(log, topic)
        await owner.begin()
        await owner.send(topic, 0, [Message(None, b"x")])
        await owner.commit(f"g-{topic}", {Partition(topic, 0): Committed(i + 1)})
        await owner.close()
        following = await opened(log, topic)
        member = log.consumer([topic], group=f"g-{topic}")
        await member.start()
        await settle([member], topic)
        assert (await member.committed(Partition(topic, 0)) or Committed(0)).offset == i + 1
        await member.close()
        await following.close()


async def test_a_transaction_left_open_ends_by_itself(log: Log, topic: str):
    gone = await opened(log, topic, timeout_s=1.0)
    await gone.begin()
    await gone.send(topic, 0, [Message(None, b"never")])
    if isinstance(log, MemoryLog):
        await log.expire(f"{GROUP}-{topic}-0")
    plain = await log.producer(name="p")
    await plain.send(topic, 0, [Message(None, b"seen")])
    reader = log.reader([topic])
    await reader.start()
    # The broker looks for transactions whose time is over every ten seconds.
    assert [r.value for r in await gather(reader, 1, within_s=30.0)] == [b"seen"]
    with pytest.raises(GuidevaneError):
        await gone.commit(f"g-{topic}", {})
    for each in (reader, plain, gone):
        await each.close()


async def test_a_dozen_ids_are_opened_and_used_side_by_side(log: Log, topic: str):
    holders = await asyncio.gather(*(log.transactions(f"{topic}-{n}", name="p") for n in range(12)))
    for number, holder in enumerate(holders):
        await holder.begin()
        await holder.send(topic, number % PARTITIONS, [Message(None, b"x")])
    await asyncio.gather(*(holder.commit(f"g-{topic}", {}) for holder in holders))
    assert sum([len(await values(log, topic, n)) for n in range(PARTITIONS)]) == 12
    await asyncio.gather(*(holder.close() for holder in holders))


async def test_who_is_fenced_while_it_commits_disconnects_without_a_word(log: Log, topic: str):
    # A commit that is given up is on its way for a moment: its refusal comes before, while or after we disconnect.
    for turns in range(0, 60, 4):
        fenced = await opened(log, topic)
        await fenced.begin()
        await fenced.send(topic, 0, [Message(None, b"unseen")])
        holder = await opened(log, topic)
        committing = asyncio.create_task(fenced.commit(f"g-{topic}", {}))
        for _ in range(turns):
            await asyncio.sleep(0)
        committing.cancel()
        await asyncio.wait([committing])
        await fenced.close()
        await holder.close()
    assert await values(log, topic) == []
