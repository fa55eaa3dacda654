"""Is the loop alive, is the room ready: told over HTTP, next to the metrics, on the loopback address by default."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import orjson

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from typing import Self

    from guidevane.clock import Clock

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_JSON: Final = "application/json"
_PATIENCE_S: Final = 5.0


Page = Callable[[str], tuple[int, bytes]]
"""What a room answers besides: from the query string to an HTTP status and JSON. Called in the server's thread."""


@dataclass(frozen=True, slots=True)
class _Readiness:
    ok: bool
    reason: str
    since_s: float


class Health:
    """What a room says of itself. The loop ticks; who does not for ``stuck_after_s`` is not alive.

    A new room is not ready, for the reason ``starting``. The last thing said is what holds. ``pages`` are
    served beside it, by path.
    """

    def __init__(self, clock: Clock, *, stuck_after_s: float = 10.0) -> None:
        self._clock = clock
        self._stuck_after_s = stuck_after_s
        self._ticked_s = clock.monotonic_s()
        self._readiness = _Readiness(ok=False, reason="starting", since_s=self._ticked_s)
        self._watch: tuple[str, ...] = ()
        self.pages: dict[str, Page] = {}

    def tick(self) -> None:
        """Say that the loop goes round: an assignment, so cheap that every round can afford it."""
        self._ticked_s = self._clock.monotonic_s()

    def ready(self, ok: bool, reason: str) -> None:  # noqa: FBT001 - Health.ready(True, "...") reads well
        """Say whether the room does its work, and why (not): ``joined``, ``recovering``, ``draining``, ..."""
        if (ok, reason) != (self._readiness.ok, self._readiness.reason):
            self._readiness = _Readiness(ok, reason, self._clock.monotonic_s())

    def watch(self, *says: str) -> None:
        """Say what a person should look at, though the room works: nothing, where there is nothing any more."""
        self._watch = says

    def alive(self) -> str | None:
        """Return why the loop is taken for dead, or ``None`` while it ticks."""
        silent_s = self._clock.monotonic_s() - self._ticked_s
        return f"the loop has not ticked for {silent_s:.1f} s" if silent_s > self._stuck_after_s else None

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return whether the room is ready, and ``/readyz``: ``ready``, ``reasons``, ``since_s``, ``watch``."""
        said, stuck = self._readiness, self.alive()
        ok = said.ok and stuck is None
        reasons = [said.reason] if stuck is None else [said.reason, stuck]
        since_s = round(self._clock.monotonic_s() - said.since_s, 3)
        return ok, {"ready": ok, "reasons": reasons, "since_s": since_s, "watch": list(self._watch)}


class HealthServer:
    """Serves ``/metrics``, ``/livez`` and ``/readyz`` from a thread of its own; a context manager.

    ``port`` 0 takes a free one. Raises ``Misconfigured`` where the port is taken. 503 says not alive, not ready.
    """

    def __init__(self, health: Health, scrape: Callable[[], bytes], port: int = 0, *, host: str = "127.0.0.1") -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(health, scrape))
        except OSError as taken:
            raise Misconfigured(f"metrics on {host}:{port}: {taken.strerror}; set another port, or 0") from taken
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; let go of the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _handler(health: Health, scrape: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S
        server_version = "guidevane"
        sys_version = ""

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(HTTPStatus.OK, _TEXT, scrape())
                case "/livez":
                    stuck = health.alive()
                    status = HTTPStatus.OK if stuck is None else HTTPStatus.SERVICE_UNAVAILABLE
                    self._answer(status, _JSON, orjson.dumps({"alive": stuck is None, "reason": stuck or "ticking"}))
                case "/readyz":
                    ok, report = health.report()
                    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
                    self._answer(status, _JSON, orjson.dumps(report))
                case path if path in health.pages:
                    self._answer(*_paged(health.pages[path], self.path.partition("?")[2]))
                case _:
                    known = sorted({"/livez", "/metrics", "/readyz", *health.pages})
                    self._answer(HTTPStatus.NOT_FOUND, _JSON, orjson.dumps({"paths": known}))

        def log_message(self, *_: object) -> None:
            """Stay silent: a probe a second is no news."""

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _paged(page: Page, query: str) -> tuple[int, str, bytes]:
    status, body = page(query)
    return status, _JSON, body
