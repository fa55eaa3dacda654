"""Doing what was decided: replicas through Ray Serve's external scaler, settings and audit rows through the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import httpx

from guidevane.control.audit import Chain, next_row
from guidevane.errors import Misconfigured, Reject, Retryable
from guidevane.log import Message, Partition
from guidevane.topics import AUDIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.events import Audit
    from guidevane.log import Log, Producer

_logger = logging.getLogger(__name__)
_PATIENCE_S: Final = 3.0
_ROWS_BACK: Final = 1_000
_AUDIT: Final = Partition(AUDIT, 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's replicas: how many are wanted, which serve, when those that do not yet were launched (epoch, s)."""

    wanted: int
    ready: tuple[str, ...] = ()
    starting: Mapping[str, float] = field(default_factory=dict)


class Scaler(Protocol):
    """What scales the members of a pipeline."""

    async def replicas(self) -> Mapping[str, Standing]:
        """Return how the replicas stand now, by member. Raises ``Retryable``."""
        ...

    async def scale(self, member: str, replicas: int) -> None:
        """Want so many from now on. Raises ``Retryable``, or ``Misconfigured`` where Serve will never do it."""
        ...


class ServeScaler:
    """Ray Serve's REST API on the dashboard (Ray 2.60); the application is the pipeline, deployments are members.

    The application must be deployed with ``external_scaler_enabled`` and without ``autoscaling_config``.
    ``token_path`` is the file that ``RAY_AUTH_TOKEN_PATH`` names, read anew each time, for tokens change.
    """

    def __init__(self, client: httpx.AsyncClient, application: str, *, token_path: str | None = None) -> None:
        self._client = client
        self._application = application
        self._token_path = Path(token_path) if token_path else None

    async def replicas(self) -> Mapping[str, Standing]:
        """Return how each deployment stands; of an application that is not there, nothing."""
        answer = await self._ask("GET", "/api/serve/applications/")
        try:
            applications = answer.json()["applications"]
            deployments = applications.get(self._application, {}).get("deployments", {})
            return {name: _standing(each) for name, each in deployments.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as strange:
            raise Retryable(f"Ray's dashboard answered what is no list of applications: {strange!r:.120}") from strange

    async def scale(self, member: str, replicas: int) -> None:
        """Have Serve want so many replicas; it starts and stops them in its own time."""
        path = f"/api/v1/applications/{self._application}/deployments/{member}/scale"
        await self._ask("POST", path, {"target_num_replicas": replicas})

    async def _ask(self, method: str, path: str, body: Mapping[str, int] | None = None) -> httpx.Response:
        try:
            answer = await self._client.request(
                method, path, json=body, headers=self._authorization(), timeout=_PATIENCE_S
            )
        except (httpx.HTTPError, OSError) as trouble:
            raise Retryable(f"Ray's dashboard does not answer: {trouble!r:.120}") from trouble
        # 412: the application has no external scaler, or is being deleted; 401 and 403: the token.
        if answer.status_code in {400, 401, 403, 412}:
            raise Misconfigured(f"Ray's dashboard refused {path} ({answer.status_code}): {answer.text:.300}")
        if answer.is_error:
            raise Retryable(f"Ray's dashboard failed {path} ({answer.status_code}): {answer.text:.300}")
        return answer

    def _authorization(self) -> dict[str, str]:
        if self._token_path is None:
            return {}
        return {"Authorization": f"Bearer {self._token_path.read_text(encoding='utf-8').strip()}"}


def _standing(deployment: Mapping[str, Any]) -> Standing:
    ready, starting = [], {}
    for each in deployment.get("replicas") or ():
        if each["state"] == "RUNNING":
            ready.append(str(each["replica_id"]))
        elif each["state"] in {"STARTING", "UPDATING", "RECOVERING"}:
            starting[str(each["replica_id"])] = float(each["start_time_s"] or 0.0)
    return Standing(int(deployment["target_num_replicas"]), tuple(ready), starting)


class Auditor:
    """Writes rows that continue the audit chain, whoever else writes to it.

    The chain is read from the topic each time, so a restart goes on where the topic ends.
    """

    def __init__(self, log: Log, producer: Producer, codec: Codec, clock: Clock) -> None:
        self._log = log
        self._producer = producer
        self._encode = codec.encoder("audit")
        self._decode = codec.decoder("audit")
        self._clock = clock
        self._chain = Chain()
        self._read_to: int | None = None

    async def write(self, action: str, subject: str, reason: str, *, actor: str, detail: Mapping[str, object]) -> Audit:
        """Append one row and return it, once it counts. Raises ``Retryable``."""
        await self._catch_up()
        while True:
            row = next_row(
                self._chain.last,
                at_us=self._clock.now_us(),
                actor=actor,
                action=action,
                object=subject,
                reason=reason,
                detail=detail,
            )
            await self._producer.send(AUDIT, 0, [Message(subject.encode(), self._encode(row))])
            # Another writer may have continued the same row a moment before: then ours counts for nothing.
            if row["hash"] in await self._catch_up():
                return row

    async def _catch_up(self) -> set[str]:
        """Follow the chain to the topic's end; return the hashes that continued it."""
        if self._read_to is None:
            self._read_to = max((await self._log.ends(AUDIT)).get(0, 0) - _ROWS_BACK, 0)
        continued: set[str] = set()
        for record in await self._log.read(_AUDIT, self._read_to):
            self._read_to = record.offset + 1
            try:
                row = cast("Audit", self._decode(record.value, record.headers))
            except Reject as nonsense:
                _logger.warning("no audit row at offset %s: %s", record.offset, nonsense)
                continue
            if self._chain.follow(row) == "continues":
                continued.add(row["hash"])
        return continued
