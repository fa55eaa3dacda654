"""Who may knock at an HTTP door: by default this machine only; anyone with the token where there is one."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from guidevane.errors import Misconfigured
from guidevane.problem import Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine only.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_access(host: str, token: str | None, *, setting: str) -> None:
    """Refuse to stand open: raises ``Misconfigured`` for a short token, or a public address without one.

    >>> check_access("0.0.0.0", None, setting="GUIDEVANE_ADMIN_TOKEN")
    Traceback (most recent call last):
    guidevane.errors.Misconfigured: 0.0.0.0 can be reached from other machines: set GUIDEVANE_ADMIN_TOKEN (16 \
characters or more), or listen on 127.0.0.1
    """
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise Misconfigured(f"{setting} has {len(token)} characters: use {SHORTEST_TOKEN} or more")
    if token is None and not is_loopback(host):
        raise Misconfigured(
            f"{host} can be reached from other machines: set {setting} ({SHORTEST_TOKEN} characters or more), "
            "or listen on 127.0.0.1"
        )


class Guard:
    """Lets a request through to ``app`` that may pass, and answers the others itself.

    With a token, every path but the ``open_paths`` wants ``Authorization: Bearer <token>`` (or Basic with the token
    as password, which is what a browser can do). Without one, the ``Host`` must be this machine: a web page that
    points a name of its own at 127.0.0.1 does not get in. A body may have ``max_body_bytes``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        open_paths: frozenset[str] = frozenset({"/livez", "/readyz"}),
        max_body_bytes: int = 1 << 20,
    ) -> None:
        self.app = app
        self.token = token.encode() if token is not None else None
        self.open_paths = open_paths
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is not None:
            await refused.response()(scope, receive, send)
            return
        await self.app(scope, self._bounded(receive), send)

    def _refusal(self, scope: Scope) -> Refused | None:
        if scope["path"] in self.open_paths:
            return None
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_body_bytes:
            return too_large(self.max_body_bytes)
        if self.token is None:
            host = headers.get("host", "")
            if is_loopback(_without_port(host)):
                return None
            return Refused(421, "misdirected-request", f"this door serves its own machine only, not {host[:200]!r}")
        given = _token_of(headers.get("authorization", ""))
        if given is not None and hmac.compare_digest(given, self.token):
            return None
        challenge = {"WWW-Authenticate": 'Bearer realm="guidevane", Basic realm="guidevane"'}
        return Refused(401, "unauthorized", "send 'Authorization: Bearer <token>'", headers=challenge)

    def _bounded(self, receive: Receive) -> Receive:
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_body_bytes:
                raise too_large(self.max_body_bytes)
            return message

        return bounded


def too_large(max_body_bytes: int) -> Refused:
    """Return the refusal of a body with more than ``max_body_bytes``."""
    return Refused(413, "body-too-large", f"a body may have {max_body_bytes} bytes: send less at once")


def _without_port(host: str) -> str:
    head, colon, tail = host.rpartition(":")
    return head if colon and tail.isdigit() else host


def _token_of(authorization: str) -> bytes | None:
    scheme, _, given = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip().encode()
        case "basic":
            try:
                return base64.b64decode(given.encode(), validate=True).partition(b":")[2]
            except binascii.Error:
                return None
        case _:
            return None
