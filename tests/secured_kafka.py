"""A broker that asks who comes, and lets nobody do what was not granted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from certificate import certificate
from guidevane.local.kafka import LocalKafka
from guidevane.local.ports import free_ports

USER, PASSWORD = "alice", "alice-secret"
_JAAS = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
_PROTOCOLS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
# Kafka's protocol, CreateAcls.
_KINDS = {"topic": 2, "group": 3, "transactional id": 5}
_RIGHTS = {"Read": 3, "Write": 4, "Describe": 8}
_ALLOW, _LITERAL = 3, 3


class _Secured(LocalKafka):
    """Beside its open door, whose user may do everything, it has one of each other kind."""

    def __init__(self, state_dir: Path, ports: dict[str, int], keys: Path) -> None:
        super().__init__(state_dir, die_with_parent=True)
        self._doors, self._keys = ports, keys

    def _write_settings(self, ports: Any) -> Path:
        path = super()._write_settings(ports)
        told = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
        for name in ("listeners", "advertised.listeners"):
            told[name] += "".join(f",{door}://127.0.0.1:{port}" for door, port in self._doors.items())
        told["listener.security.protocol.map"] += "".join(f",{door}:{door}" for door in self._doors)
        told |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": _JAAS,
            "listener.name.sasl_ssl.plain.sasl.jaas.config": _JAAS,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._keys),
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in told.items()), encoding="utf-8")
        return path


@dataclass(frozen=True)
class SecuredKafka:
    """Its addresses, by what is spoken there, and the certificate to trust."""

    addresses: dict[str, str]
    authority: Path

    def told(self, protocol: str = "SASL_PLAINTEXT", **changed: str) -> dict[str, str]:
        """Return the environment of a user who may come in, but for what is changed (to nothing: left out)."""
        told = {"KAFKA_BOOTSTRAP_SERVERS": self.addresses[protocol], "KAFKA_SECURITY_PROTOCOL": protocol}
        if protocol.startswith("SASL_"):
            told |= {"KAFKA_SASL_PLAIN_USERNAME": USER, "KAFKA_SASL_PLAIN_PASSWORD": PASSWORD}
            told |= {"KAFKA_SASL_MECHANISM": "PLAIN"}
        if "SSL" in protocol:
            told["KAFKA_SSL_CAFILE"] = str(self.authority)
        return {name: value for name, value in (told | changed).items() if value}

    async def grant(self, kind: str, name: str, *rights: str) -> None:
        """Let the user do that to what is called so."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.addresses["PLAINTEXT"])
        await admin.start()
        for right in rights:
            request = CreateAclsRequest(_KINDS[kind], name, _LITERAL, f"User:{USER}", "*", _RIGHTS[right], _ALLOW)
            (answer,) = (await admin._send_request(request)).creation_responses
            assert answer[0] == 0, answer
        await admin.close()


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Yield a real broker; one that cannot start is a failure, never a skip."""
    folder = tmp_path_factory.mktemp("secured-kafka")
    authority, key = certificate(folder)
    (folder / "server.pem").write_bytes(key.read_bytes() + authority.read_bytes())
    ports = dict(zip(_PROTOCOLS, free_ports(len(_PROTOCOLS)), strict=True))
    kafka = _Secured(folder, ports, folder / "server.pem")
    asyncio.run(kafka.start())
    try:
        asyncio.run(kafka.wait_ready())
        addresses = {door: f"127.0.0.1:{port}" for door, port in ports.items()}
        yield SecuredKafka(addresses | {"PLAINTEXT": kafka.bootstrap}, authority)
    finally:
        asyncio.run(kafka.stop())
