"""What a cluster's refusals mean: who we are, what we may, how we came; each with the way out."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from guidevane.errors import Denied, Retryable

if TYPE_CHECKING:
    from guidevane.log.kafka.connection import Connection

_ASK_WITHIN_S = 5.0
_RIGHTS = {
    TopicAuthorizationFailedError: "Describe, Read and Write on the pipeline's topics",
    GroupAuthorizationFailedError: "Read on the group",
    ClusterAuthorizationFailedError: "Write on a topic, or IdempotentWrite on the cluster",
    TransactionalIdAuthorizationFailed: "Write and Describe on the transactional id",
}


def trouble(broken: BaseException, doing: str) -> Retryable:
    """Return what we make of a failure: a right that is missing, or something that may pass by itself.

    >>> trouble(GroupAuthorizationFailedError("fraud.ingest"), "joining fraud.ingest")
    Denied('joining fraud.ingest: Kafka does not let us: [Error 30] GroupAuthorizationFailedError: fraud.ingest → \
grant Read on the group (kafka-acls.sh; docs/operations/security.md)')
    >>> trouble(KafkaTimeoutError(), "asking where fraud.events starts and ends")
    Retryable('asking where fraud.events starts and ends: no answer in time → guidevane doctor (replicas) names the \
partitions that nobody leads and the brokers that are away')
    """
    for kind, right in _RIGHTS.items():
        if isinstance(broken, kind):
            return Denied(
                f"{doing}: Kafka does not let us: {broken} → grant {right} (kafka-acls.sh; docs/operations/security.md)"
            )
    if isinstance(broken, KafkaTimeoutError):
        return Retryable(
            f"{doing}: no answer in time → guidevane doctor (replicas) names the partitions that nobody leads and the "
            "brokers that are away"
        )
    return Retryable(f"{doing}: {broken!r}")


async def unreachable(connection: Connection, failed: KafkaError) -> Retryable:
    """Return why no client starts: aiokafka tells its log alone, so every address is asked once more.

    A cluster that refuses us at one address does so at all; the others may name brokers that are gone.
    """
    hosts = collect_hosts(connection.bootstrap, randomize=False)
    told = await asyncio.gather(*(_asked(connection, host, port, failed) for host, port, _ in hosts))
    denied = next((each for each in told if isinstance(each, Denied)), None)
    return denied or (told[0] if len(told) == 1 else Retryable("; ".join(map(str, told))))


async def _asked(connection: Connection, host: str, port: int, failed: KafkaError) -> Retryable:
    """Return why no client starts at one address."""
    at = f"no Kafka at {host}:{port}"
    options = connection.options()
    del options["bootstrap_servers"]
    protocol = options.get("security_protocol", "PLAINTEXT")
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            (await create_conn(host, port, **options)).close()
    except (SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError) as refused:
        mechanism = options.get("sasl_mechanism", "PLAIN")
        return Denied(
            f"{at} for us: it refuses user {options.get('sasl_plain_username')!r} by {mechanism}: {refused} → "
            "KAFKA_SASL_PLAIN_USERNAME, KAFKA_SASL_PLAIN_PASSWORD and KAFKA_SASL_MECHANISM must be what brokers know"
        )
    except ssl.SSLCertVerificationError as unknown:
        return Denied(
            f"{at} that we can trust: {unknown.verify_message} → KAFKA_SSL_CAFILE=FILE with the certificate of the "
            "authority that signed the broker's, and its name as the broker's certificate has it"
        )
    except (ssl.SSLError, ConnectionResetError, KafkaConnectionError) as broken:
        return Retryable(
            f"{at}: it ended the connection ({broken!r}) → does it speak {protocol}? KAFKA_SECURITY_PROTOCOL"
        )
    except (OSError, KafkaError, TimeoutError) as away:
        return Retryable(f"{at}: {str(away) or repr(away)}")
    return Retryable(
        f"{at}: somebody takes connections there, and answers no question ({failed}) → does it speak "
        f"{protocol}? KAFKA_SECURITY_PROTOCOL"
    )
