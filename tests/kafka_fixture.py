"""The broker that the integration tests share: yours when ``KAFKA_BOOTSTRAP_SERVERS`` says so, else a local one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from guidevane.local.kafka import LocalKafka


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield ``host:port`` of a real broker. A broker that cannot start is a failure, never a skip."""
    if yours := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield yours
        return
    kafka = LocalKafka(tmp_path_factory.mktemp("kafka"), die_with_parent=True)
    asyncio.run(kafka.start())
    try:
        asyncio.run(kafka.wait_ready())
        yield kafka.bootstrap
    finally:
        asyncio.run(kafka.stop())
