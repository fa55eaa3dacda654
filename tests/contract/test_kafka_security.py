"""Given a broker that asks who comes, when somebody is refused, then it is told who, by what, and what to do."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from guidevane.doctor import Where, cluster
from guidevane.errors import Denied, Misconfigured, Retryable
from guidevane.local.ports import free_ports
from guidevane.log import Committed, Fetch, Message, Partition
from guidevane.log.kafka import Connection, KafkaLog
from guidevane.topics import TopicSpec
from log_fixture import gather
from secured_kafka import CERTIFIED, USER, SecuredKafka, secured_kafka

__all__ = ["secured_kafka"]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@asynccontextmanager
async def opened(environ: dict[str, str]) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(Connection.told(environ))
    try:
        yield log
    finally:
        await log.close()


async def topic_of(secured_kafka: SecuredKafka) -> str:
    """Return a topic that somebody else has made."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    async with opened({"KAFKA_BOOTSTRAP_SERVERS": secured_kafka.addresses["PLAINTEXT"]}) as log:
        await log.ensure([TopicSpec(name, 1)])
    return name


def by(protocol: str, mechanism: str) -> Callable[[SecuredKafka], dict[str, str]]:
    return lambda kafka: kafka.told(protocol, KAFKA_SASL_MECHANISM=mechanism)


@pytest.mark.parametrize(
    ("comes", "user"),
    [
        pytest.param(by("SASL_PLAINTEXT", "PLAIN"), USER, id="PLAIN"),
        pytest.param(by("SASL_SSL", "PLAIN"), USER, id="PLAIN by TLS"),
        pytest.param(by("SASL_PLAINTEXT", "SCRAM-SHA-512"), USER, id="SCRAM"),
        pytest.param(by("SASL_SSL", "SCRAM-SHA-512"), USER, id="SCRAM by TLS"),
        pytest.param(SecuredKafka.certified, CERTIFIED, id="certificate"),
    ],
)
async def test_a_user_with_its_rights_writes_reads_commits_and_makes_no_topic(secured_kafka, comes, user):
    name = await topic_of(secured_kafka)
    await secured_kafka.grant("topic", name, "Read", "Write", user=user)
    await secured_kafka.grant("group", "g", "Read", user=user)
    await secured_kafka.grant("transactional id", name, "Write", user=user)
    async with opened(comes(secured_kafka)) as log:
        await log.ensure([TopicSpec(name, 1)])
        producer = await log.producer(name="p")
        await producer.send(name, 0, [Message(b"k", b"once")])
        await producer.close()
        transactions = await log.transactions(name, name="p")
        await transactions.begin()
        await transactions.send(name, 0, [Message(b"k", b"twice")])
        await transactions.commit("g", {Partition(name, 0): Committed(0, "")})
        await transactions.close()
        consumer = log.consumer([name], group="g", fetch=Fetch())
        await consumer.start()
        assert [record.value for record in await gather(consumer, 2)] == [b"once", b"twice"]
        await consumer.close()


# asyncio closes the socket of a handshake that failed some turns later, which a loop that ends does not take.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("protocol", "changed", "kind", "says"),
    [
        ("SASL_SSL", {"KAFKA_SASL_PLAIN_PASSWORD": "wrong"}, Denied, "refuses user 'alice' by PLAIN"),
        ("SASL_SSL", {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, Denied, "by SCRAM-SHA-256"),
        ("SASL_SSL", {"KAFKA_SSL_CAFILE": ""}, Denied, "self-signed certificate → KAFKA_SSL_CAFILE=FILE"),
        ("SSL", {"KAFKA_SSL_CAFILE": ""}, Denied, "self-signed certificate → KAFKA_SSL_CAFILE=FILE"),
        ("PLAINTEXT", {"at": "SASL_PLAINTEXT"}, Retryable, "does it speak PLAINTEXT"),
        ("PLAINTEXT", {"at": "SSL"}, Retryable, "does it speak PLAINTEXT"),
        ("SSL", {"at": "PLAINTEXT"}, Retryable, "does it speak SSL"),
    ],
)
async def test_who_is_not_let_in_is_told_why_and_by_the_doctor_too(
    secured_kafka, tmp_path, protocol, changed, kind, says
):
    at = secured_kafka.addresses[changed.get("at", protocol)]
    told = secured_kafka.told(protocol, KAFKA_BOOTSTRAP_SERVERS=at, **{k: v for k, v in changed.items() if k != "at"})
    async with opened(told) as log:
        with pytest.raises(kind) as refused:
            await log.ensure([TopicSpec("t", 1)])
    assert type(refused.value) is kind
    assert says in str(refused.value)
    found = await cluster.broker(Where(state_dir=tmp_path, kafka=at, environ=told))
    assert (found.status, found.says) == ("fail", str(refused.value))


async def test_who_is_not_let_in_is_told_why_also_where_the_first_address_is_of_a_broker_that_is_gone(secured_kafka):
    gone, there = f"127.0.0.1:{free_ports(1)[0]}", secured_kafka.addresses["SASL_PLAINTEXT"]
    told = secured_kafka.told(KAFKA_BOOTSTRAP_SERVERS=f"{gone},{there}", KAFKA_SASL_PLAIN_PASSWORD="wrong")
    async with opened(told) as log:
        with pytest.raises(Denied, match=f"no Kafka at {there} for us: it refuses user 'alice'"):
            await log.ensure([TopicSpec("t", 1)])
    async with opened(secured_kafka.told(KAFKA_BOOTSTRAP_SERVERS=f"{gone},{there}")) as log:
        with pytest.raises(Misconfigured, match="does not let us create it"):
            await log.ensure([TopicSpec("t-absent", 1)])


async def test_a_room_whose_password_is_wrong_does_not_wait_for_it_and_says_so_without_a_traceback(secured_kafka):
    told = secured_kafka.told("SASL_SSL", KAFKA_SASL_PLAIN_PASSWORD="wrong")
    room = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "guidevane.services.admin", env={**os.environ, **told}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await room.communicate()
    assert room.returncode == os.EX_CONFIG
    assert b"refuses user 'alice' by PLAIN" in said
    assert b"Traceback" not in said


async def test_a_topic_that_is_not_there_and_may_not_be_made_is_told_with_the_command_that_makes_it(secured_kafka):
    async with opened(secured_kafka.told()) as log:
        with pytest.raises(Misconfigured, match=r"--topic t-absent --partitions 3 --config retention\.ms=1"):
            await log.ensure([TopicSpec("t-absent", 3, {"retention.ms": "1"})])


async def test_who_comes_with_a_certificate_is_who_it_names_and_may_do_what_that_one_may(secured_kafka):
    name = await topic_of(secured_kafka)
    await secured_kafka.grant("topic", name, "Describe", user=CERTIFIED)
    async with opened(secured_kafka.certified()) as log:
        with pytest.raises(Denied, match="somebody-else → grant Read on the group"):
            await log.consumer([name], group="somebody-else", fetch=Fetch()).start()


async def test_a_topic_that_we_may_not_see_is_told_of_at_once_by_whoever_reads_it(secured_kafka):
    name = await topic_of(secured_kafka)
    async with opened(secured_kafka.told()) as log:
        for ask in (log.read(Partition(name, 0), 0), log.ends(name)):
            with pytest.raises(Misconfigured, match=f"{name} that we may see: .* or grant Describe"):
                await ask


async def test_each_right_that_is_missing_is_told_by_its_name_and_no_client_is_left_behind(secured_kafka):
    name = await topic_of(secured_kafka)
    await secured_kafka.grant("topic", name, "Describe")
    async with opened(secured_kafka.told()) as log:
        consumer = log.consumer([name], group="not-ours", fetch=Fetch())
        with pytest.raises(Denied, match="not-ours → grant Read on the group"):
            await consumer.start()
        with pytest.raises(Denied, match="grant Write and Describe on the transactional id"):
            await log.transactions("not-ours", name="p")
        # Who may write to no topic gets no producer; who may write to another one is refused by this one.
        await secured_kafka.grant("topic", f"{name}-other", "Write")
        producer = await log.producer(name="p")
        with pytest.raises(Denied, match=f"{name}.* → grant Describe, Read and Write"):
            await producer.send(name, 0, [Message(b"k", b"v")])
        await producer.close()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
