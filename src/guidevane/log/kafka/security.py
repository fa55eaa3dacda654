"""What an operator says of security, by aiokafka's names: looked at before a client is made of it."""

from __future__ import annotations

import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "KAFKA_"
OURS = ("sasl_", "ssl_", "security_")
"""How names begin that are about security."""
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_BY_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_KERBEROS = "GSSAPI"
_USERNAME, _PASSWORD = "sasl_plain_username", "sasl_plain_password"
_TLS = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password")
_NAMES = (
    "security_protocol", "sasl_mechanism", _USERNAME, _PASSWORD,
    "sasl_kerberos_service_name", "sasl_kerberos_domain_name", *_TLS,
)  # fmt: skip
# What librdkafka and Kafka's Java clients call the same.
_ELSEWHERE = {
    "sasl_username": _USERNAME,
    "sasl_password": _PASSWORD,
    "sasl_jaas_config": _USERNAME,
    "sasl_mechanisms": "sasl_mechanism",
    "ssl_ca_location": "ssl_cafile",
    "ssl_truststore_location": "ssl_cafile",
    "ssl_certificate_location": "ssl_certfile",
    "ssl_keystore_location": "ssl_certfile",
    "ssl_key_location": "ssl_keyfile",
    "ssl_key_password": "ssl_password",
}


def check(security: Mapping[str, str]) -> None:
    """Raise ``Misconfigured`` for what clients would raise a ``ValueError`` of, or pass over without a word."""
    for name in sorted(security):
        if name not in _NAMES:
            written = _named(_ELSEWHERE[name]) if name in _ELSEWHERE else ""
            says = f"write {written}" if written else nearest(_named(name), [_named(each) for each in _NAMES])
            raise Misconfigured(f"{_named(name)} is no setting → {says}")
    protocol = security.get("security_protocol", "PLAINTEXT")
    if protocol not in _PROTOCOLS:
        raise Misconfigured(f"KAFKA_SECURITY_PROTOCOL is {protocol!r} → {nearest(protocol, _PROTOCOLS)}")
    for start, part in (("sasl_", "SASL_"), ("ssl_", "SSL")):
        unused = sorted(name for name in security if name.startswith(start) and part not in protocol)
        if unused:
            with_it = " or ".join(each for each in _PROTOCOLS if part in each)
            raise Misconfigured(
                f"{_named(unused[0])} is given, but KAFKA_SECURITY_PROTOCOL is {protocol} → write {with_it}"
            )
    if protocol.startswith("SASL_"):
        _check_sasl(security, protocol)


def _check_sasl(security: Mapping[str, str], protocol: str) -> None:
    mechanism = security.get("sasl_mechanism", "PLAIN")
    if mechanism not in (*_BY_PASSWORD, _KERBEROS):
        raise Misconfigured(f"KAFKA_SASL_MECHANISM is {mechanism!r} → {nearest(mechanism, (*_BY_PASSWORD, _KERBEROS))}")
    if mechanism == _KERBEROS and find_spec("gssapi") is None:
        raise Misconfigured("KAFKA_SASL_MECHANISM is GSSAPI → pip install gssapi")
    for name in (_USERNAME, _PASSWORD) if mechanism in _BY_PASSWORD else ():
        if not security.get(name):
            raise Misconfigured(f"KAFKA_SECURITY_PROTOCOL is {protocol} → set {_named(name)}, too")


def context(security: Mapping[str, str]) -> ssl.SSLContext:
    """Return whom to trust, and as whom to come. Raises ``Misconfigured`` where a file of it cannot be used."""
    tls = {name: told for name, told in security.items() if name in _TLS}
    try:
        made = ssl.create_default_context(cafile=tls.get("ssl_cafile"))
        if "ssl_certfile" in tls:
            made.load_cert_chain(tls["ssl_certfile"], tls.get("ssl_keyfile"), tls.get("ssl_password"))
    except OSError as wrong:
        named = ", ".join(f"{_named(name)}={tls[name]}" for name in sorted(tls) if name != "ssl_password")
        raise Misconfigured(f"{named} cannot be used: {wrong} → name PEM files that can be read") from wrong
    return made


def _named(name: str) -> str:
    return PREFIX + name.upper()
