"""What an operator asks of a cluster: where groups are, and how a topic is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest

from guidevane.log import Committed, Partition
from guidevane.log.kafka.connection import Connection, started
from guidevane.log.kafka.refusals import trouble
from guidevane.log.kafka.replicas import replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from guidevane.log.kafka.replicas import Replicas


class KafkaOperator:
    """An administrator's connection, from ``async with`` to its end."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._client: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        client = AIOKafkaAdminClient(**self.connection.options(), client_id="guidevane-operator")
        await started(client, self.connection)
        self._client = client
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def places(self, group: str) -> Mapping[Partition, Committed]:
        """Return how far a group is, whether or not it has members. Raises ``Retryable``."""
        assert self._client is not None  # noqa: S101 - narrows the type: asked from inside ``async with``
        try:
            found = await self._client.list_consumer_group_offsets(group)
        except KafkaError as broken:
            raise trouble(broken, f"asking for the places of {group}") from broken
        return {Partition(tp.topic, tp.partition): Committed(at.offset, at.metadata) for tp, at in found.items()}

    async def layout(self) -> Mapping[Partition, Replicas]:
        """Return where each partition lies, those of internal topics too. Raises ``Retryable``."""
        assert self._client is not None  # noqa: S101 - as above
        try:
            described = await self._client.describe_topics()
        except KafkaError as broken:
            raise trouble(broken, "asking where partitions lie") from broken
        return {Partition(*place): each for place, each in replicas_of(described).items()}

    async def move(self, moves: Mapping[Partition, Sequence[int]]) -> None:
        """Have partitions lie on these brokers from now on, the preferred leader first. Raises ``Retryable``."""
        assert self._client is not None  # noqa: S101 - as above
        untagged: dict[str, str] = {}
        by_topic: dict[str, list[tuple[int, list[int], dict[str, str]]]] = {}
        for partition, brokers in moves.items():
            by_topic.setdefault(partition.topic, []).append((partition.number, list(brokers), untagged))
        topics = [(topic, partitions, untagged) for topic, partitions in by_topic.items()]
        # aiokafka knows the request and offers no call for it.
        request = AlterPartitionReassignmentsRequest(30_000, topics, untagged)
        try:
            answer = await self._client._send_to_controller(request)  # noqa: SLF001
            if answer.error_code:
                raise for_code(answer.error_code)(answer.error_message)
            for topic, partitions, _ in answer.responses:
                for number, code, said, _ in partitions:
                    if code:
                        raise for_code(code)(f"{topic}/{number}: {said}")
        except KafkaError as broken:
            raise trouble(broken, "moving partitions") from broken

    async def configure(self, topic: str, settings: Mapping[str, str]) -> None:
        """Give a topic these settings, and Kafka's defaults for all others. Raises ``Retryable``."""
        assert self._client is not None  # noqa: S101 - as above
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(settings))
        try:
            for answer in await self._client.alter_configs([resource]):
                for code, said, *_ in answer.resources:
                    if code:
                        raise for_code(code)(said)
        except KafkaError as broken:
            raise trouble(broken, f"configuring {topic}") from broken
