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

    ``damaged`` is why that cannot be read, where it is there. ``reference`` is the pipeline as a person named it,
    ``pipeline`` its own name.
    """

    state_dir: Path
    kafka: str | None = None
    ray: str | None = None
    ray_dashboard: str | None = None
    reference: str | None = None
    pipeline: str | None = None
    endpoints: Mapping[str, Any] | None = None
    damaged: str = ""
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
        ends, damaged = _endpoints(state_dir / "endpoints.json")
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
            damaged=damaged,
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


def _endpoints(path: Path) -> tuple[Mapping[str, Any] | None, str]:
    """Return what the file says, nothing where there is none, and why it cannot be read."""
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as wrong:
        return None, f"{path} cannot be read: {wrong}"
    if not isinstance(told, dict) or not all(_addresses(name, value) for name, value in told.items()):
        return None, f"{path} does not hold what `guidevane up` writes"
    return told, ""


def _addresses(name: str, value: object) -> bool:
    match name:
        case "metrics":
            return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        case "kafka" | "ray" | "ray_dashboard" | "admin" | "ingest":
            return isinstance(value, str)
        case _:
            return True


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
