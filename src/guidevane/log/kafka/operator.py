"""What an operator asks of a cluster: where groups are, and how a topic is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from guidevane.log import Committed, Partition
from guidevane.log.kafka.connection import Connection, started
from guidevane.log.kafka.refusals import trouble

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


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
