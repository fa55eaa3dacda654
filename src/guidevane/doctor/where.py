"""Where the doctor looks: what the command line, the environment and a running `guidevane up` name."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guidevane.loading import examine

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSWER_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """``kafka`` and ``ray`` are host:port, ``None`` where nobody names one; ``endpoints`` is what ``state_dir`` says.

    ``reference`` is the pipeline as a person named it, ``pipeline`` its own name.
    """

    state_dir: Path
    kafka: str | None = None
    ray: str | None = None
    ray_dashboard: str | None = None
    reference: str | None = None
    pipeline: str | None = None
    endpoints: Mapping[str, Any] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def told(
        cls,
        state_dir: Path,
        *,
        bootstrap: str | None,
        reference: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Put together what is named: a command's options first, then the environment, then the state folder."""
        path = state_dir / "endpoints.json"
        try:
            ends: Mapping[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            ends = None
        own = ends or {}
        made = examine(reference)[0] if reference is not None else None
        return cls(
            state_dir=state_dir,
            kafka=bootstrap or environ.get("KAFKA_BOOTSTRAP_SERVERS") or own.get("kafka"),
            ray=environ.get("RAY_ADDRESS") or own.get("ray"),
            ray_dashboard=environ.get("RAY_API_SERVER_ADDRESS") or own.get("ray_dashboard"),
            reference=reference,
            pipeline=made.name if made is not None else reference,
            endpoints=ends,
            environ=environ,
        )

    def token(self) -> str | None:
        """Return Ray's token, from where Ray's own tools look for it, then from the state folder."""
        told = self.environ.get("RAY_AUTH_TOKEN")
        if told:
            return told
        for path in (self.environ.get("RAY_AUTH_TOKEN_PATH"), str(self.state_dir / "ray" / "token")):
            if path and Path(path).is_file():
                return Path(path).read_text(encoding="utf-8").strip()
        return None


def ask(url: str, token: str | None = None) -> tuple[int, Any]:
    """Return the status and the JSON that an address answers with; blocks. Raises ``OSError`` where it is away."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as answer:  # noqa: S310 - named by the operator
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, _json(refused.read())


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content[:200].decode(errors="replace")
