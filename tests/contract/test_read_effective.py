"""One topic with everything that can stand on it: Python's reader and the Java reference give the same answer."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from guidevane import read_effective
from guidevane.local import jars
from guidevane.local.java import find_java
from guidevane.log import Log, Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.reading import ORIGIN, STAGE, WINDOW, origin_in
from guidevane.topics import TopicSpec
from log_fixture import PARTITIONS

REFERENCE = Path(__file__).parents[2] / "docs" / "read-effective" / "ReadEffective.java"

COMPILER = Path(__file__).with_name("ecj.txt")


def outcomes(by: str, *origins: int) -> list[Message]:
    return [Message(b"k", f"{by} {origin}".encode(), ((ORIGIN, b"%d" % origin),)) for origin in origins]


async def write_everything(log: Log, topic: str) -> list[tuple[int, str]]:
    """Fill the topic as owners, zombies and transactions would; return what counts, by partition."""
    plain = await log.producer(name="plain")
    await plain.send(topic, 0, outcomes("owner", *range(50)))
    await plain.send(topic, 0, outcomes("zombie", *range(30, 60)))
    await plain.send(topic, 0, outcomes("owner", *range(50, 90)))
    await plain.send(topic, 0, [Message(b"k", b"nobody's"), Message(b"k", b"nobody's", ((ORIGIN, b"x"),))])
    counts = [(0, f"owner {n}") for n in range(50)] + [(0, f"zombie {n}") for n in range(50, 60)]
    counts += [(0, f"owner {n}") for n in range(60, 90)] + [(0, "nobody's")] * 2
    # Dead letters of several stages, one far behind another; and one that another stage has given up already.
    letters = [("ingest", 1000), ("ingest", 2 * WINDOW), *[("inference", n) for n in (1003, 1003, 2 * WINDOW)]]
    await plain.send(topic, 0, [
        Message(b"k", f"{stage} {n}".encode(), ((STAGE, stage.encode()), (ORIGIN, b"%d" % n))) for stage, n in letters
    ])  # fmt: skip
    counts += [(0, f"{stage} {n}") for stage, n in letters[:3]]
    # A zombie that passed over what the owner then answers; and one that comes after a very long time.
    await plain.send(topic, 1, outcomes("zombie", 0, 3, 4, 5))
    await plain.send(topic, 1, outcomes("owner", 1, 2, 3, 4, 5, 6, WINDOW + 6))
    await plain.send(topic, 1, outcomes("ancient", 6, 0, WINDOW + 6) + outcomes("owner", 7, WINDOW + 7))
    counts += [(1, f"zombie {n}") for n in (0, 3, 4, 5)] + [
        (1, f"owner {n}") for n in (1, 2, 6, WINDOW + 6, 7, WINDOW + 7)
    ]
    # Transactions: what is aborted counts for nothing, even where it came first.
    holder = await log.transactions(f"{topic}-2", name="t")
    for origins, commit in ((range(10), True), (range(10, 20), False), (range(10, 15), True)):
        await holder.begin()
        await holder.send(topic, 2, outcomes("committed" if commit else "aborted", *origins))
        await (holder.commit("g", {}) if commit else holder.abort())
    counts += [(2, f"committed {n}") for n in range(15)]
    await holder.close()
    await plain.close()
    return counts


async def python_reads(bootstrap: str, topic: str, ends: dict[int, int]) -> list[tuple[int, int, int, bytes]]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    found = []
    try:
        async with asyncio.timeout(30):
            async for record in read_effective(consumer):
                origin = origin_in(record.headers)
                found.append((record.partition, record.offset, -1 if origin is None else origin, record.value))
                if len(found) == sum(ends.values()):
                    return found
    finally:
        await consumer.stop()
    return found


async def java_reads(bootstrap: str, topic: str, folder: Path) -> list[tuple[int, int, int, bytes]]:
    java = str(find_java().path)
    libraries = ":".join(map(str, await asyncio.to_thread(jars.classpath)))
    (compiler,) = await asyncio.to_thread(jars.classpath, wanted=jars.pinned(COMPILER))
    compiling = [java, "-jar", str(compiler), "-17", "-d", str(folder), "-cp", libraries, str(REFERENCE)]
    running = [java, "-cp", f"{libraries}:{folder}", "ReadEffective", bootstrap, topic]
    said = b""
    for command in (compiling, running):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, trouble = await process.communicate()
        assert process.returncode == 0, trouble.decode()
    lines = [line.split() for line in said.decode().splitlines()]
    return [(int(p), int(offset), int(origin), bytes.fromhex(value)) for p, offset, origin, value in lines]


@pytest.mark.kafka
async def test_python_and_java_read_the_same_outcomes(kafka_bootstrap: str, tmp_path: Path):
    log = KafkaLog(Connection(kafka_bootstrap))
    topic = f"t-{uuid.uuid4().hex[:12]}.decisions"
    await log.ensure([TopicSpec(topic, PARTITIONS)])
    counts = await write_everything(log, topic)
    wanted = {n: sum(1 for partition, _ in counts if partition == n) for n in range(PARTITIONS)}
    python, java = await asyncio.gather(
        python_reads(kafka_bootstrap, topic, wanted), java_reads(kafka_bootstrap, topic, tmp_path)
    )
    assert sorted(python) == sorted(java)
    assert sorted((partition, value.decode()) for partition, _, _, value in python) == sorted(counts)
    held = [r for n in range(PARTITIONS) for r in await log.read(Partition(topic, n), 0)]
    assert [(r.partition, r.offset) for r in read_effective(held)] == sorted((p, offset) for p, offset, _, _ in java)
    await log.close()
