"""How a cluster is reached: addresses, security, time-outs; the same for every client."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError

from guidevane.errors import Misconfigured, Retryable
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_PREFIX = "KAFKA_"
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_BY_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a cluster. ``security`` holds aiokafka's own SASL and TLS settings, passed through."""

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)
    session_timeout_s: float = 10.0
    request_timeout_s: float = 30.0
    compression: str = "lz4"

    @classmethod
    def told(cls, environ: Mapping[str, str], *, bootstrap: str | None = None, session_timeout_s: float = 10.0) -> Self:
        """Read ``KAFKA_BOOTSTRAP_SERVERS`` and, by the same rule, aiokafka's settings for security.

        >>> told = Connection.told({"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "KAFKA_SASL_MECHANISM": "PLAIN"})
        >>> told.bootstrap, dict(told.security), told.compression
        ('k:9092', {'sasl_mechanism': 'PLAIN'}, 'lz4')

        ``KAFKA_COMPRESSION_TYPE`` is ``none``, ``gzip``, ``lz4`` or ``zstd``, as Kafka's own clients have it.
        Raises ``Misconfigured`` where no client could be made of it.
        """
        given = {k.removeprefix(_PREFIX).lower(): v for k, v in environ.items() if k.startswith(_PREFIX)}
        security = {k: v for k, v in given.items() if k.startswith(("sasl_", "ssl_", "security_"))}
        _check(security)
        servers = bootstrap or given.get("bootstrap_servers", "127.0.0.1:9092")
        compression = given.get("compression_type", "lz4")
        return cls(servers, security, session_timeout_s=session_timeout_s, compression=compression)

    def options(self) -> dict[str, Any]:
        """Return what every aiokafka client takes."""
        options: dict[str, Any] = {k: v for k, v in self.security.items() if not k.startswith("ssl_")}
        tls = {k: v for k, v in self.security.items() if k.startswith("ssl_")}
        if "SSL" in self.security.get("security_protocol", ""):
            options["ssl_context"] = _context(tls)
        return {"bootstrap_servers": self.bootstrap, "request_timeout_ms": int(self.request_timeout_s * 1000)} | options


def _check(security: Mapping[str, str]) -> None:
    """Raise ``Misconfigured`` for what clients would raise a ``ValueError`` of, each at another place."""
    protocol = security.get("security_protocol", "PLAINTEXT")
    if protocol not in _PROTOCOLS:
        raise Misconfigured(f"KAFKA_SECURITY_PROTOCOL is {protocol!r} → {nearest(protocol, _PROTOCOLS)}")
    by_password = security.get("sasl_mechanism", "PLAIN") in _BY_PASSWORD
    if protocol.startswith("SASL_") and by_password:
        for name in ("sasl_plain_username", "sasl_plain_password"):
            if not security.get(name):
                raise Misconfigured(f"KAFKA_SECURITY_PROTOCOL is {protocol} → set {_PREFIX}{name.upper()}, too")


def _context(tls: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.get("ssl_cafile"))
        if "ssl_certfile" in tls:
            context.load_cert_chain(tls["ssl_certfile"], tls.get("ssl_keyfile"), tls.get("ssl_password"))
    except OSError as wrong:
        named = ", ".join(f"{_PREFIX}{name.upper()}={tls[name]}" for name in sorted(tls) if name != "ssl_password")
        raise Misconfigured(f"{named} cannot be used: {wrong} → name PEM files that can be read") from wrong
    return context


async def started(client: Any, connection: Connection) -> None:
    """Start a client of any kind. Raises ``Retryable`` where no broker answers."""
    try:
        await client.start()
    except KafkaConnectionError as unreachable:
        # A client that did not start still holds tasks.
        await (client.stop() if hasattr(client, "stop") else client.close())
        raise Retryable(f"no Kafka at {connection.bootstrap}: {unreachable}") from unreachable
