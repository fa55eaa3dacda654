"""Topics made and described."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.admin import NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from guidevane.errors import Misconfigured, Retryable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from guidevane.topics import TopicSpec

_NO_RIGHT = (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno)


async def described(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    """Return how many partitions each topic has, once all have leaders: a new topic is not there at once."""
    have: dict[str, int] = {}
    for attempt in range(100):
        described = await admin.describe_topics(topics)
        have = {found["topic"]: len(found["partitions"]) for found in described if not found["error_code"]}
        if all(have.get(topic) for topic in topics):
            return have
        await asyncio.sleep(min(0.02 * (attempt + 1), 0.2))
    raise Retryable(f"no leader yet for {', '.join(topic for topic in topics if not have.get(topic))}")


async def create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """Create the topics that do not exist. Raises ``Misconfigured`` where the broker would not."""
    # Whoever may not create topics is refused for one that is there, too; to describe one that is not may make it.
    there = frozenset(await admin.list_topics())
    for spec in specs:
        if spec.name in there:
            continue
        topic = NewTopic(spec.name, spec.partitions, replication_factor=1, topic_configs=dict(spec.settings))
        # The broker's own default (-1, KIP-464) is what the operator of the cluster chose; aiokafka
        # refuses it in the constructor and sends it all the same.
        topic.replication_factor = -1
        try:
            answer = await admin.create_topics([topic])
        except TopicAlreadyExistsError:
            continue
        for _, code, *said in answer.topic_errors:
            if code in _NO_RIGHT:
                raise Misconfigured(
                    f"{spec.name} is not there for us, and Kafka does not let us create it → grant Describe, if it is, "
                    f"or Create on it; or have it made: {_by_hand(spec)}"
                )
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Misconfigured(f"Kafka would not create {spec.name} ({code}): {said[0] if said else ''}")


def _by_hand(spec: TopicSpec) -> str:
    settings = "".join(f" --config {name}={value}" for name, value in spec.settings.items())
    return f"kafka-topics.sh --create --topic {spec.name} --partitions {spec.partitions}{settings}"
