"""Looking a cluster over: what is there, how it is set, what its clock says; it writes to a topic of its own alone."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from guidevane.errors import Misconfigured
from guidevane.log.kafka.admin import create
from guidevane.log.kafka.connection import started
from guidevane.log.kafka.placed import PLACES
from guidevane.log.kafka.refusals import trouble
from guidevane.log.kafka.replicas import replicas_of
from guidevane.topics import TopicSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.log.kafka.connection import Connection
    from guidevane.log.kafka.replicas import Replicas

CLOCK = TopicSpec("guidevane.doctor", 1, {"message.timestamp.type": "LogAppendTime", "retention.ms": "60000"})
"""Where the broker is made to stamp a record, so that its clock can be read."""
INTERNAL = (PLACES, "__transaction_state")
"""Where Kafka keeps the places of groups, and what becomes of transactions."""
_FETCH = 1
# The newest version of Fetch that each release speaks, as its protocol guide lists them.
_RELEASES = {18: "4.1", 17: "3.9", 16: "3.7", 15: "3.5", 13: "3.1", 12: "2.7"}


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it is: where its partitions lie, by number, and how it is set, brokers' defaults included."""

    lies: Mapping[int, Replicas]
    settings: Mapping[str, str]

    @property
    def partitions(self) -> int:
        """Return how many there are."""
        return len(self.lies)


@dataclass(frozen=True, slots=True)
class Survey:
    """A cluster as it is: ``release`` is the oldest Kafka that speaks as it does, empty where that is not known.

    ``brokers`` are the ids of those that answer now: without a majority, the cluster itself still lists the dead.
    ``topics`` are all but the internal ones, of which only those are told that hold a group's places and transactions.
    """

    brokers: frozenset[int]
    release: str
    topics: Mapping[str, TopicState]


async def survey(connection: Connection) -> Survey:
    """Return what a cluster is and holds. Raises ``Retryable`` where none answers."""
    admin = AIOKafkaAdminClient(**connection.options(), client_id="guidevane-doctor")
    await started(admin, connection)
    try:
        brokers = await _answering(admin)
        names = [name for name in await admin.list_topics() if not name.startswith("__") or name in INTERNAL]
        described = await admin.describe_topics(names) if names else []
        settings = await _settings(admin, names)
        lies: dict[str, dict[int, Replicas]] = {found["topic"]: {} for found in described}
        for (topic, number), replicas in replicas_of(described).items():
            lies[topic][number] = replicas
        states = {topic: TopicState(each, settings.get(topic, {})) for topic, each in lies.items()}
        return Survey(brokers, _release(admin), states)
    except KafkaError as broken:
        raise trouble(broken, f"looking {connection.bootstrap} over") from broken
    finally:
        await admin.close()


async def clock_offset_s(connection: Connection) -> tuple[float, float]:
    """Return how far the broker's clock is ahead of ours, in seconds, and how far that may be wrong.

    Raises ``Retryable``, or ``Misconfigured`` where the topic that it needs may not be made.
    """
    admin = AIOKafkaAdminClient(**connection.options(), client_id="guidevane-doctor")
    await started(admin, connection)
    try:
        await create(admin, [CLOCK])
    except KafkaError as broken:
        raise Misconfigured(f"{CLOCK.name} could not be made: {broken!r}") from broken
    finally:
        await admin.close()
    producer = AIOKafkaProducer(**connection.options(), client_id="guidevane-doctor", acks=1)
    await started(producer, connection)
    try:
        best = (0.0, math.inf)
        for _ in range(3):
            # Two readings of one clock around the broker's one: not a time that anything is decided by.
            before_s = time.time()  # noqa: TID251
            sent = await producer.send_and_wait(CLOCK.name, b"what time is it")
            after_s = time.time()  # noqa: TID251
            half_s = (after_s - before_s) / 2
            if half_s < best[1]:
                best = (sent.timestamp / 1000 - (before_s + half_s), half_s)
    except KafkaError as broken:
        raise trouble(broken, f"asking {connection.bootstrap} for the time") from broken
    else:
        return best
    finally:
        await producer.stop()


async def _answering(admin: AIOKafkaAdminClient) -> frozenset[int]:
    """Return the brokers that answer, and have the administrator ask one of them from now on.

    aiokafka draws one at random for each question, also of those that have died, and asks no other where it fails.
    """
    client = admin._client  # noqa: SLF001 - it offers no way to choose
    known = sorted(broker.nodeId for broker in client.cluster.brokers())
    answering = frozenset([node for node in known if await client.ready(node)])
    if answering:
        client.get_random_node = lambda: min(answering)
    return answering


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if names:
        for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
            for _, _, _, topic, entries in answer.resources:
                found[topic] = {entry[0]: entry[1] for entry in entries}
    return found


def _release(admin: Any) -> str:
    # aiokafka 0.14 keeps what the broker said it speaks, and shows it nowhere.
    connections = getattr(admin._client, "_conns", {})  # noqa: SLF001
    spoken = [
        versions[_FETCH] for each in connections.values() if _FETCH in (versions := getattr(each, "_versions", {}))
    ]
    newest = min((most for _, most in spoken), default=0)
    return next((release for version, release in _RELEASES.items() if newest >= version), "")
