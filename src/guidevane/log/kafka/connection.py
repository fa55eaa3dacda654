"""How a cluster is reached: addresses, security, time-outs; the same for every client."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError, KafkaError

from guidevane.errors import Misconfigured
from guidevane.log.kafka.refusals import trouble, unreachable
from guidevane.log.kafka.security import OURS, PREFIX, check, context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_LEAST_MS = 1000


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a cluster. ``security`` holds aiokafka's own SASL and TLS settings, passed through."""

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)
    session_timeout_s: float = 10.0
    # Kafka's own clients wait 30 s. A broker that hangs is found out by nothing else, and may be asked once more who
    # leads; a slow one has the same batch sent again, and takes it once.
    request_timeout_s: float = 15.0
    compression: str = "lz4"

    @classmethod
    def told(cls, environ: Mapping[str, str], *, bootstrap: str | None = None, session_timeout_s: float = 10.0) -> Self:
        """Read ``KAFKA_BOOTSTRAP_SERVERS`` and, by the same rule, aiokafka's settings for security.

        >>> told = Connection.told({"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "KAFKA_SECURITY_PROTOCOL": "SSL"})
        >>> told.bootstrap, dict(told.security), told.compression
        ('k:9092', {'security_protocol': 'SSL'}, 'lz4')

        ``KAFKA_COMPRESSION_TYPE`` is ``none``, ``gzip``, ``lz4`` or ``zstd``, and ``KAFKA_REQUEST_TIMEOUT_MS`` how long
        a broker may take for a request, as Kafka's own clients have them.
        Raises ``Misconfigured`` where no client could be made of it.
        """
        given = {k.removeprefix(PREFIX).lower(): v for k, v in environ.items() if k.startswith(PREFIX)}
        security = {k: v for k, v in given.items() if k.startswith(OURS)}
        check(security)
        servers = bootstrap or given.get("bootstrap_servers", "127.0.0.1:9092")
        try:
            collect_hosts(servers)
        except ValueError as wrong:
            raise Misconfigured(
                f"{servers!r} is no address of Kafka ({wrong}) → host:port, or several with commas"
            ) from wrong
        told = cls(servers, security, session_timeout_s=session_timeout_s)
        if compression := given.get("compression_type"):
            told = replace(told, compression=compression)
        if timeout := given.get("request_timeout_ms"):
            told = replace(told, request_timeout_s=_timeout_s(timeout))
        return told

    def options(self) -> dict[str, Any]:
        """Return what every aiokafka client takes."""
        options: dict[str, Any] = {k: v for k, v in self.security.items() if not k.startswith("ssl_")}
        if "SSL" in self.security.get("security_protocol", ""):
            options["ssl_context"] = context(self.security)
        return {"bootstrap_servers": self.bootstrap, "request_timeout_ms": int(self.request_timeout_s * 1000)} | options


def _timeout_s(text: str) -> float:
    if not text.isdecimal() or int(text) < _LEAST_MS:
        raise Misconfigured(
            f"KAFKA_REQUEST_TIMEOUT_MS is {text!r} → milliseconds, a whole number from {_LEAST_MS} on; 15000 if unset"
        )
    return int(text) / 1000


async def started(client: Any, connection: Connection) -> None:
    """Start a client of any kind. Raises ``Retryable`` where no broker answers, ``Denied`` where it may not."""
    try:
        await client.start()
    except KafkaError as failed:
        # A client that did not start still holds tasks.
        await (client.stop() if hasattr(client, "stop") else client.close())
        if isinstance(failed, KafkaConnectionError):
            raise await unreachable(connection, failed) from failed
        raise trouble(failed, f"connecting to {connection.bootstrap}") from failed
