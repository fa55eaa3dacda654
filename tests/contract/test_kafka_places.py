"""Given what groups have committed, plainly and in transactions, then Kafka's own topic tells all of it, in order."""

from __future__ import annotations

import uuid

import pytest

from guidevane.log import Committed, Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.log.kafka.placed import PLACES, placed
from guidevane.topics import TopicSpec

pytestmark = pytest.mark.kafka


async def test_every_place_is_found_with_its_group_and_partition(kafka_bootstrap: str):
    log = KafkaLog(Connection(kafka_bootstrap))
    name = f"t-{uuid.uuid4().hex[:12]}"
    await log.ensure([TopicSpec(name, 1)])
    where = Partition(name, 0)
    member = log.consumer([name], group=name)
    await member.start()
    while not member.assignment():
        await member.fetch(timeout_s=0.1)
    # A note may hold anything, and a place may be committed again.
    for offset in (0, 3, 3):
        await member.commit({where: Committed(offset, "note ✓")})
    await member.close()
    holder = await log.transactions(name, name="h")
    for offset, commits in ((7, True), (8, False)):
        await holder.begin()
        await holder.send(name, 0, [Message(None, b"v")])
        await (holder.commit(name, {where: Committed(offset)}) if commits else holder.abort())
    await holder.close()
    found = []
    for number in await log.ends(PLACES):
        found += [at for record in await log.read(Partition(PLACES, number), 0) if (at := placed(record)) is not None]
    await log.close()
    assert [(at.partition, at.offset) for at in found if at.group == name] == [(where, each) for each in (0, 3, 3, 7)]
