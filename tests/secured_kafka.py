"""A broker that asks who comes, and lets nobody do what was not granted."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from certificate import certificate
from guidevane.local import jars
from guidevane.local.java import find_java
from guidevane.local.kafka import LocalKafka
from guidevane.local.ports import free_ports

USER, PASSWORD = "alice", "alice-secret"
_MODULES = "org.apache.kafka.common.security"
_SCRAM = "SCRAM-SHA-512"
_JAAS = {
    "PLAIN": f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
    _SCRAM: f"{_MODULES}.scram.ScramLoginModule required;",
}
CERTIFIED = "CN=guidevane-tests"
_PROTOCOLS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
# Kafka's protocol, CreateAcls.
_KINDS = {"topic": 2, "group": 3, "transactional id": 5}
_RIGHTS = {"Read": 3, "Write": 4, "Describe": 8}
_ALLOW, _LITERAL = 3, 3


class _Secured(LocalKafka):
    """Beside its open door, whose user may do everything, it has one of each other kind."""

    def __init__(self, state_dir: Path, ports: dict[str, int], keys: Path, authority: Path) -> None:
        super().__init__(state_dir, die_with_parent=True)
        self._doors, self._keys, self._authority = ports, keys, authority

    def _write_settings(self, ports: Any) -> Path:
        path = super()._write_settings(ports)
        told = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
        for name in ("listeners", "advertised.listeners"):
            told[name] += "".join(f",{door}://127.0.0.1:{port}" for door, port in self._doors.items())
        told["listener.security.protocol.map"] += "".join(f",{door}:{door}" for door in self._doors)
        told |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": ",".join(_JAAS),
            **{
                f"listener.name.{door}.{mechanism.lower()}.sasl.jaas.config": login
                for door in ("sasl_plaintext", "sasl_ssl")
                for mechanism, login in _JAAS.items()
            },
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._keys),
            "listener.name.ssl.ssl.client.auth": "requested",
            "listener.name.ssl.ssl.truststore.type": "PEM",
            "listener.name.ssl.ssl.truststore.location": str(self._authority),
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in told.items()), encoding="utf-8")
        return path


@dataclass(frozen=True)
class SecuredKafka:
    """Its addresses, by what is spoken there, the certificate to trust and to come with, and its key."""

    addresses: dict[str, str]
    authority: Path
    key: Path

    def told(self, protocol: str = "SASL_PLAINTEXT", **changed: str) -> dict[str, str]:
        """Return the environment of a user who may come in, but for what is changed (to nothing: left out)."""
        told = {"KAFKA_BOOTSTRAP_SERVERS": self.addresses[protocol], "KAFKA_SECURITY_PROTOCOL": protocol}
        if protocol.startswith("SASL_"):
            told |= {"KAFKA_SASL_PLAIN_USERNAME": USER, "KAFKA_SASL_PLAIN_PASSWORD": PASSWORD}
            told |= {"KAFKA_SASL_MECHANISM": "PLAIN"}
        if "SSL" in protocol:
            told["KAFKA_SSL_CAFILE"] = str(self.authority)
        return {name: value for name, value in (told | changed).items() if value}

    def certified(self) -> dict[str, str]:
        """Return the environment of who comes with a certificate: ``CERTIFIED`` by name."""
        return self.told("SSL", KAFKA_SSL_CERTFILE=str(self.authority), KAFKA_SSL_KEYFILE=str(self.key))

    async def grant(self, kind: str, name: str, *rights: str, user: str = USER) -> None:
        """Let the user do that to what is called so."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.addresses["PLAINTEXT"])
        await admin.start()
        for right in rights:
            request = CreateAclsRequest(_KINDS[kind], name, _LITERAL, f"User:{user}", "*", _RIGHTS[right], _ALLOW)
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
    kafka = _Secured(folder, ports, folder / "server.pem", authority)
    asyncio.run(kafka.start())
    try:
        asyncio.run(kafka.wait_ready())
        addresses = {door: f"127.0.0.1:{port}" for door, port in ports.items()}
        _give_password(kafka.bootstrap)
        yield SecuredKafka(addresses | {"PLAINTEXT": kafka.bootstrap}, authority, key)
    finally:
        asyncio.run(kafka.stop())


def _give_password(bootstrap: str) -> None:
    """Give the user its password by SCRAM: Kafka keeps those itself, and its own tool alone writes them."""
    tool = ["-cp", ":".join(map(str, jars.classpath(lambda *_: None))), "kafka.admin.ConfigCommand"]
    asked = ["--bootstrap-server", bootstrap, "--alter", "--entity-type", "users", "--entity-name", USER]
    given = ["--add-config", f"{_SCRAM}=[password={PASSWORD}]"]
    subprocess.run([find_java().path, *tool, *asked, *given], check=True, timeout=60)
